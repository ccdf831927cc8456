"""How a run came about: what it was made from, by which code, with which libraries and machine."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from letterrec.config.settings import Settings, dotted
from letterrec.runs.records import FORMAT, RunRecord

VERSION = metadata.version("letterrec")  # of the package
_PACKAGES = ("numpy", "polars", "safetensors", "sentence-transformers", "torch")


def new_about(source: str, seed: int) -> RunRecord:
    """What run.json says of a run that begins now, here."""
    return {
        "format": FORMAT,
        "letterrec": VERSION,
        "source": source,
        "seed": seed,
        "started": timestamp(),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "machine": {
            "processor": processor(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "stages": {},
    }


def timestamp() -> str:
    """The time, to the second, as run.json has it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _commit() -> str | None:
    """The commit of the source tree that runs; None for an installed package."""
    try:
        found = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def processor() -> str:
    """How many of which processors this machine has."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return f"{len(names)} x {names[0]}"
    except (OSError, IndexError):
        return f"{os.cpu_count()} x {platform.machine()}"


def differences(old: Settings, new: Settings) -> str:
    """In which settings two runs differ, as ``key: old -> new``."""
    before, after = dotted(old.model_dump()), dotted(new.model_dump())
    keys = [k for k in after | before if before.get(k) != after.get(k)]
    told = [f"{k}: {before.get(k)!r} there, {after.get(k)!r} now" for k in keys]
    return "; ".join(told[:4]) + (f"; and {len(told) - 4} more" if len(told) > 4 else "")
