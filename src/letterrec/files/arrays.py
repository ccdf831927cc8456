"""Files of named arrays, read without PyTorch: safetensors, which hold no code, with readable
metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from safetensors import safe_open

from letterrec.files import refuse_damaged


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Named arrays, of whatever types and shapes they were written with.

    Raises:
        RunError: the file is missing, damaged, or may not be read.
    """
    with opened(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def read_shapes(path: Path) -> dict[str, list[int]]:
    """The shapes of named arrays, without reading these.

    Raises:
        RunError: the file is missing, damaged, or may not be read.
    """
    with opened(path, "np") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata written with named arrays, without reading these.

    Raises:
        RunError: the file is missing, damaged, or may not be read.
    """
    with opened(path, "np") as file:
        return metadata_of(file)


@contextmanager
def opened(path: Path, framework: Literal["np", "pt"]) -> Iterator[Any]:
    """A safetensors file opened for reading, whose arrays are NumPy's or PyTorch's.

    Raises:
        RunError: the file is missing, damaged, or may not be read.
    """
    with refuse_damaged(path), _one_file(path, framework) as file:
        yield file


def _one_file(path: Path, framework: str) -> Any:
    """A safetensors file opened for reading, though a writer may be replacing it.

    safetensors opens a path twice, for the header and for the data; between the two it can become
    another file. Only two openings of the same file count.
    """
    while True:
        with path.open("rb") as held:  # while it is held, no other file gets its inode
            failure: Exception | None = None
            try:
                found = safe_open(path, framework)
            except Exception as error:
                failure = error
            if os.path.samestat(os.fstat(held.fileno()), path.stat()):
                if failure:
                    raise failure
                return found


def metadata_of(file: Any) -> dict[str, Any]:
    """The metadata of an opened file."""
    return {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
