"""Files that are whole or absent: atomic writes, readings that say what is wrong, fingerprints."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars
from numpy.typing import NDArray
from safetensors import SafetensorError

from letterrec.errors import LetterRecError, RunError, short

_DAMAGE = (  # what parsers raise, and what looking into the result does
    SafetensorError,
    ArithmeticError,  # numbers beyond all bounds
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    RuntimeError,  # tensors that do not fit
    TypeError,
    ValueError,
    polars.exceptions.PolarsError,
)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; it takes the name ``path`` only when the block ends well.

    The content is on the disk before the rename: after a crash ``path`` is the old or the new
    file, never a part of one. It may be read and written by whom the umask lets: writers that
    make private files of their own (safetensors) do not change that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        made = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        rights = stat.S_IMODE(os.fstat(made).st_mode)
        os.close(made)
        yield temporary
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


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically, indented for people."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def refuse_damaged(path: Path) -> Iterator[None]:
    """Read a run's file in the block: whatever is wrong with its content becomes a `RunError`.

    Raises:
        RunError: the file is missing, may not be read, or holds something else than expected.
    """
    try:
        yield
    except LetterRecError:
        raise
    except FileNotFoundError:
        raise RunError(f"{path} is missing; the run is unfinished: fit it with --resume") from None
    except PermissionError:
        raise _permission_denied(path) from None
    except _DAMAGE as error:
        reason = f"{type(error).__name__}: {short(error, 200)}".removesuffix(": ")
        raise RunError(f"{path} is damaged ({reason}); fit the run again") from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RunError: the file is missing, may not be read, or is no JSON.
    """
    with refuse_damaged(path):
        return json.loads(path.read_text("utf-8"))


def denied(*paths: Path) -> RunError | None:
    """What to tell where one of these files may not be read; None where all may, or are missing.

    Some readers call a file missing or damaged that they may not open.
    """
    for path in paths:
        try:
            with path.open("rb"):
                pass
        except PermissionError:
            return _permission_denied(path)
        except OSError:
            continue
    return None


def _permission_denied(path: Path) -> RunError:
    return RunError(
        f"{path}: permission denied; run this as the user that the file belongs to, or let this "
        "one read it (chmod, chown)"
    )


def fingerprint(*parts: str | bytes | NDArray[np.generic] | tuple[str, ...]) -> str:
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
