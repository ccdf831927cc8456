"""The run folder: what it holds, how it was made, what of it is done.

```
RUN/
  run.json                  format, source, data fingerprints, versions, seed, commit, stages
  settings.toml             all settings
  data/                     interactions.parquet, items.parquet
  content.safetensors       content embeddings
  collaborative.safetensors CF embeddings
  sasrec.safetensors        the model that they are from, where it was trained here
  tokenizer/                the trained tokenizer
  identifiers.parquet       one code sequence per item
  recommender.safetensors   the trained recommender
  transitions.safetensors   which item speaks for which, mixed into its probabilities
  diagnostics.json          what the identifiers look like
  metrics.json              test and validation metrics, popularity beside them
  ranks.safetensors         the rank of every held-out item, behind metrics.json
  training/STAGE/           checkpoints and TensorBoard events
```

Every file is written whole or not at all; a stage is done when run.json says so.
"""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import letterrec
from letterrec.baselines import BASELINES
from letterrec.config.loading import parse_kept_settings
from letterrec.config.settings import Settings, leaves
from letterrec.data.cold import ColdItems
from letterrec.data.dataset import Dataset
from letterrec.data.saved import read_dataset, write_dataset
from letterrec.data.splits import Split
from letterrec.decoding.transitions import Transitions
from letterrec.errors import RunError, SettingsError
from letterrec.evaluation.metrics import Ranks
from letterrec.files import (
    fingerprint,
    read_matrix,
    read_tensors,
    reading,
    write_json,
    write_tensors,
    write_text,
)
from letterrec.identifiers.identifiers import Identifiers
from letterrec.progress import say
from letterrec.runs.records import FORMAT, About, Diagnostics, Metrics, read_record
from letterrec.tokenizers import Tokenizer, load_tokenizer
from letterrec.training import distributed

STAGES = (
    "read",
    "content",
    "collaborative",
    "tokenizer",
    "identifiers",
    "recommender",
    "transitions",
    "evaluation",
)
_BASELINE_STAGES = ("read", "recommender", "evaluation")
_PACKAGES = ("numpy", "polars", "safetensors", "sentence-transformers", "torch")


Made = TypeVar("Made")
Kept = TypeVar("Kept")
Facts = dict[str, Any]  # of a stage, for run.json


@dataclass(frozen=True)
class Step(Generic[Made, Kept]):
    """A step of the pipeline.

    Attributes:
        stage: its name in run.json.
        keep: writes what was made into the run's folder, and returns what run.json says of it.
        load: reads it back.
    """

    stage: str
    keep: Callable[[Run, Dataset, Made], Facts]
    load: Callable[[Run, Dataset], Kept]


class Run:
    """A run folder; see the module's docstring for what is in it."""

    def __init__(self, folder: Path, settings: Settings, about: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = settings
        self.about = about

    def __repr__(self) -> str:
        done = [stage for stage in STAGES if self.is_done(stage)]
        state = f"done up to {done[-1]}" if done else "nothing done"
        return f"Run({str(self.folder)!r}: {self.settings.recommender.name}, {state})"

    @classmethod
    def start(cls, folder: Path, settings: Settings, source: str | Dataset, *, resume: bool) -> Run:
        """Begin a run in an empty or new folder, or go on with the one that is there.

        Raises:
            RunError: the folder holds a run and ``resume`` is off, or holds something else, or
                the run there was started with other settings or another source, or nothing can
                be written there.
        """
        try:
            return cls._start(folder, settings, str(source), resume)
        except OSError as error:
            raise RunError(
                f"{_shown(folder)} cannot be written ({(error.strerror or str(error)).lower()}); "
                "name another --out"
            ) from None

    @classmethod
    def _start(cls, folder: Path, settings: Settings, source: str, resume: bool) -> Run:
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder} is a file; --out needs a folder, new or empty")
        if (folder / "run.json").exists() and cls.open(folder).has_work:
            if not resume:
                raise RunError(
                    f"{folder} already holds a run; add --resume to go on with it, "
                    "or name another --out"
                )
            run = cls.open(folder)
            if run.settings != settings:
                raise RunError(
                    f"{folder} was started with other settings "
                    f"({_differences(run.settings, settings)}); resume with the same recipe and "
                    "--set values, or name another --out"
                )
            for half_written in folder.rglob(".*.tmp"):  # by a process that was killed
                half_written.unlink(missing_ok=True)
            return run
        ours = {"settings.toml", "run.json", "data"}
        found = [p.name for p in folder.iterdir()] if folder.exists() else []
        if any(name not in ours and not name.endswith(".tmp") for name in found):
            raise RunError(f"{folder} is not empty and holds no run; name another --out")
        write_text(folder / "settings.toml", settings.to_toml())
        about = {
            "format": FORMAT,
            "letterrec": letterrec.__version__,
            "source": source,
            "seed": settings.seed,
            "started": _now(),
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
        run = cls(folder, settings, about)
        run._write()
        return run

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open the run in a folder.

        Raises:
            RunError: there is none, it is damaged, or it may not be read.
        """
        path = folder / "run.json"
        with reading(path):
            if not path.exists():
                what = "holds no run (no run.json)" if folder.is_dir() else "does not exist"
                raise RunError(
                    f"{folder} {what}; make one with: letterrec fit SOURCE --out {folder}"
                )
        about = read_record(path, About)
        path = folder / "settings.toml"
        try:
            with reading(path):
                settings = parse_kept_settings(tomllib.loads(path.read_text("utf-8")))
        except SettingsError as error:
            raise RunError(
                f"{path} is damaged, or of another version ({error}); fit the run again"
            ) from None
        return cls(folder, settings, about)

    @property
    def has_work(self) -> bool:
        """Whether there is more in the folder than data read: what is worth keeping."""
        return self.about["stages"].keys() > {"read"} or (self.folder / "training").exists()

    def is_done(self, stage: str) -> bool:
        """Whether a stage's results are in the folder."""
        return stage in self.about["stages"]

    def require(self, stage: str) -> None:
        """Refuse to go on without a stage.

        Raises:
            RunError: it is not done.
        """
        if not self.is_done(stage):
            raise RunError(
                f"{self.folder} is unfinished (stage {stage!r} is missing); finish it with: "
                f"letterrec fit {self.about['source']} --out {self.folder} --resume"
            )

    def step(self, step: Step[Made, Kept], dataset: Dataset, make: Callable[[], Made]) -> Kept:
        """What a step gives: loaded if the run has it, else made, kept and loaded.

        Processes that work together make it together; the main one keeps it.

        Args:
            step: one of `runs.steps`.
            dataset: of the run.
            make: does the step.
        """
        if not self.is_done(step.stage):
            with self.stage(step.stage) as facts:
                made = make()
                if distributed.is_main():
                    facts |= step.keep(self, dataset, made)
        return step.load(self, dataset)

    @contextmanager
    def stage(self, name: str) -> Iterator[Facts]:
        """Time a stage and record it as done when the block ends well.

        The block may put what should be recorded into the dict that it gets.
        """
        is_baseline = self.settings.recommender.name in BASELINES
        stages = _BASELINE_STAGES if is_baseline else STAGES
        say(f"[{stages.index(name) + 1}/{len(stages)}] {name}")
        started = time.perf_counter()
        record: Facts = {}
        yield record
        record["seconds"] = round(time.perf_counter() - started, 2)
        record["finished"] = _now()
        self.record(name, record)

    def checkpoints(self, stage: str) -> Path:
        """Where a stage's training keeps checkpoints and TensorBoard events."""
        return self.folder / "training" / stage

    def record(self, stage: str, record: Mapping[str, object]) -> None:
        """Note that a stage is done."""
        self.about["stages"][stage] = record
        if distributed.is_main():
            self._write()
        distributed.meet()

    def keep_data(self, dataset: Dataset, cold: ColdItems | None = None) -> None:
        """Keep the data that the run is made from, or see that they are those that it has.

        Args:
            dataset: as read.
            cold: items held out of it.

        Raises:
            RunError: the run was started on other data.
        """
        if self.is_done("read"):
            self.check_data(dataset)
            self._say_what_is_kept()
            return
        with self.stage("read") as facts:
            for warning in dataset.warnings:
                say(f"  note: {warning}")
            say(
                f"  {dataset.name}: {dataset.n_users} users, {dataset.n_items} items, "
                f"{dataset.n_interactions} interactions"
            )
            write_dataset(dataset, self.folder / "data")
            if cold is not None:
                say(f"  held out of training: {len(cold.item_ids)} items")
                cold.save(self.folder / "cold")
            facts |= {
                "name": dataset.name,
                "users": dataset.n_users,
                "items": dataset.n_items,
                "interactions": dataset.n_interactions,
                "fingerprint": dataset.fingerprint,
                "side_fingerprint": dataset.side_fingerprint,
                "side_fingerprints": dataset.side_fingerprints,
                "warnings": list(dataset.warnings),
            }

    def _say_what_is_kept(self) -> None:
        kept = [stage for stage in STAGES if self.is_done(stage)]
        if "evaluation" in kept:
            say(f"{self.folder}: this run is finished; nothing is left to do")
        else:
            say(f"{self.folder}: going on; kept from before: {', '.join(kept)}")

    def check_data(self, dataset: Dataset) -> None:
        """Refuse to resume on other data.

        Raises:
            RunError: the data's fingerprint is another.
        """
        recorded = self.about["stages"]["read"]
        if dataset.fingerprint != recorded.get("fingerprint"):
            changed = "interactions (users, items or their order)"
        elif "side_fingerprints" in recorded:
            before, now = recorded["side_fingerprints"], dataset.side_fingerprints
            changed = " and ".join(part for part in now if now[part] != before.get(part))
        elif "side_fingerprint" in recorded:  # as runs of format 1 have it
            same = recorded["side_fingerprint"] == dataset.side_fingerprint
            changed = "" if same else "texts, preferences, tokens or embeddings"
        else:
            say("  note: this run does not say what its texts were; they are taken to be the same")
            changed = ""
        if changed:
            raise RunError(
                f"{self.folder} was started on other data: the {changed} of the source have "
                "changed since; name another --out, or put the source back as it was"
            )

    def dataset(self) -> Dataset:
        """The run's data.

        Raises:
            RunError: they are missing or damaged, or not those that the run was made from.
        """
        self.require("read")
        with reading(self.folder / "data"):
            dataset = read_dataset(self.folder / "data")
            if not all(isinstance(t, str) for t in (*dataset.titles, *(dataset.texts or ()))):
                raise ValueError("a title or a text is none")
            found, recorded = dataset.fingerprint, self.about["stages"]["read"].get("fingerprint")
        if recorded is not None and found != recorded:
            raise RunError(
                f"{self.folder / 'data'} is damaged (fingerprint {found}, the run was made from "
                f"{recorded}); fit the run again"
            )
        return dataset

    def save_embeddings(self, name: str, values: NDArray[np.float32], dataset: Dataset) -> None:
        """Keep float32 ``(n_items, d)`` embeddings with the fingerprint of the item ids."""
        about = {"items": fingerprint(dataset.item_ids)}
        path = self.folder / f"{name}.safetensors"
        write_tensors(path, {"embeddings": torch.from_numpy(values)}, about)

    def embeddings(self, name: str, n_items: int) -> NDArray[np.float32] | None:
        """Embeddings float32 ``(n_items, d)`` kept under a name; None where the run has none.

        Raises:
            RunError: they are damaged, or not of so many items.
        """
        path = self.folder / f"{name}.safetensors"
        return read_matrix(path, n_items) if path.exists() else None

    def save_identifiers(self, identifiers: Identifiers, dataset: Dataset) -> None:
        """Keep the identifiers."""
        identifiers.save(self.folder / "identifiers.parquet", dataset.item_ids)

    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer.

        Raises:
            RunError: it has none of its own, or its files are damaged.
        """
        return load_tokenizer(self.folder / "tokenizer")

    def identifiers(self, dataset: Dataset) -> Identifiers:
        """The run's identifiers."""
        self.require("identifiers")
        return Identifiers.load(self.folder / "identifiers.parquet", dataset.item_ids)

    def save_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Keep what training the recommender has decided."""
        write_tensors(self.weights_path, weights)

    @property
    def weights_path(self) -> Path:
        """The file of the trained recommender."""
        return self.folder / "recommender.safetensors"

    def weights(self) -> dict[str, Tensor]:
        """The weights of the trained recommender.

        Raises:
            RunError: they are missing or damaged.
        """
        self.require("recommender")
        return read_tensors(self.weights_path)[0]

    def save_transitions(self, transitions: Transitions, dataset: Dataset) -> None:
        """Keep which item speaks for which."""
        about = {"items": fingerprint(dataset.item_ids)}
        transitions.save(self.folder / "transitions.safetensors", about)

    def transitions(self, n_items: int) -> Transitions | None:
        """Which of so many items speaks for which; None where the run does without.

        Raises:
            RunError: the file is missing or damaged, or of other items.
        """
        path = self.folder / "transitions.safetensors"
        if not self.settings.transitions.enabled:
            return None
        with reading(path):
            found = Transitions.load(path)
            if found.table.shape[0] != n_items:
                raise ValueError(f"{found.table.shape[0]} items, the run has {n_items}")
        return found

    def save_ranks(self, ranks: Mapping[str, Ranks], dataset: Dataset) -> None:
        """Keep the ranks ``(n_cases,)`` of a split's targets, by the split's name."""
        tensors = {split: torch.from_numpy(r.astype(np.int32)) for split, r in ranks.items()}
        about = {"data": dataset.fingerprint}
        write_tensors(self.folder / "ranks.safetensors", tensors, about)

    def ranks(self, split: Split) -> Ranks:
        """int64 ``(n_cases,)``: the ranks kept for a split, as `evaluation.evaluate_split` gives.

        Raises:
            RunError: there are none; runs of older versions kept none.
        """
        self.require("evaluation")
        path = self.folder / "ranks.safetensors"
        with reading(path):
            return read_tensors(path)[0][split].numpy().astype(np.int64)

    def write_json(self, name: str, value: object) -> None:
        """Keep a JSON file."""
        write_json(self.folder / f"{name}.json", value)

    def metrics(self) -> dict[str, Any]:
        """What evaluation gave: split -> `evaluation.evaluate_split`; ``popularity`` beside it."""
        self.require("evaluation")
        return read_record(self.folder / "metrics.json", Metrics)

    def diagnostics(self) -> dict[str, Any]:
        """What the identifiers look like; see `identifiers.diagnostics.diagnose`."""
        self.require("identifiers")
        return read_record(self.folder / "diagnostics.json", Diagnostics)

    def _write(self) -> None:
        write_json(self.folder / "run.json", self.about)


def _shown(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 120 else f"{text[:60]}... ({len(text)} characters)"


def _now() -> str:
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


def _differences(old: Settings, new: Settings) -> str:
    """In which settings two runs differ, as ``key: old -> new``."""
    before, after = (
        {".".join(keys): value for keys, value in leaves(s.model_dump())} for s in (old, new)
    )
    keys = [k for k in after | before if before.get(k) != after.get(k)]
    told = [f"{k}: {before.get(k)!r} there, {after.get(k)!r} now" for k in keys]
    return "; ".join(told[:4]) + (f"; and {len(told) - 4} more" if len(told) > 4 else "")
