"""Files that are whole or absent: atomic writes, tensors without pickles, fingerprints.

Knows how bytes reach the disk. Leaves what a run folder holds to `run.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from letterrec.errors import RunError
from letterrec.processes import is_helper


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; it takes the name ``path`` only when the block ends well.

    The content is on the disk before the rename: after a crash ``path`` is the old or the new
    file, never a part of one. It may be read and written by whom the umask lets: writers that
    make private files of their own (safetensors) do not change that. Of several processes only
    the main one's files stay.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        made = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        rights = stat.S_IMODE(os.fstat(made).st_mode)
        os.close(made)
        yield temporary
        if is_helper():
            return
        now = temporary.stat()
        if stat.S_IMODE(now.st_mode) != rights and now.st_nlink == 1:
            temporary.chmod(rights)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``, or a copy where the disk has no such links."""
    with atomic_path(target) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, indented for people."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RunError: the file is missing, may not be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None


def denied(*paths: Path) -> RunError | None:
    """What to tell where one of these files may not be read; None where all may, or are missing.

    Some readers call a file missing or damaged that they may not open.
    """
    for path in paths:
        try:
            with path.open("rb"):
                pass
        except PermissionError:
            return RunError(
                f"{path}: permission denied; run this as the user that the file belongs to, or "
                "let this one read it (chmod, chown)"
            )
        except OSError:
            continue
    return None


def _unreadable(path: Path, error: Exception) -> RunError:
    if (refused := denied(path)) is not None:
        return refused
    if isinstance(error, FileNotFoundError):
        return RunError(f"{path} is missing; the run is unfinished: fit it with --resume")
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return RunError(f"{path} is damaged ({reason}); fit the run again")


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any] | None = None
) -> None:
    """Write named tensors as safetensors, atomically, with readable metadata."""
    metadata = {k: json.dumps(v) for k, v in (about or {}).items()}
    flat = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(flat, temporary, metadata)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Named tensors and the metadata written with them.

    Raises:
        RunError: the file is missing, damaged, or may not be read.
    """
    try:
        with safe_open(path, "pt") as file:
            about = {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
            return {k: file.get_tensor(k) for k in file.keys()}, about  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise _unreadable(path, error) from None


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata written with named tensors, without reading these.

    Raises:
        RunError: the file is missing, damaged, or may not be read.
    """
    try:
        with safe_open(path, "pt") as file:
            return {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise _unreadable(path, error) from None


def fingerprint(*parts: str | bytes | NDArray[Any] | tuple[str, ...]) -> str:
    """A short SHA-256 over texts, bytes, arrays and tuples of texts, order and bounds included."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, tuple):
            data = json.dumps(part).encode()
        elif isinstance(part, str):
            data = part.encode()
        elif isinstance(part, np.ndarray):
            data = f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes()
        else:
            data = part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:16]
