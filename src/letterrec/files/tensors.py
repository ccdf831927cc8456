"""Files of named tensors: safetensors, which hold no code, with readable metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from letterrec.errors import RunError
from letterrec.files import atomic_path, refuse_damaged


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, object] | None = None
) -> None:
    """Write named tensors as safetensors, atomically, with readable metadata.

    They are written from where they are, without a copy of all of them in memory; only of tensors
    that share their storage, which the format does not know, each but the first is copied.
    """
    metadata = {k: json.dumps(v) for k, v in (about or {}).items()}
    flat, storages = {}, set()
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().contiguous()
        where = values.untyped_storage().data_ptr()
        flat[name] = values.clone() if where in storages else values
        storages.add(where)
    with atomic_path(path) as temporary:
        save_file(flat, temporary, metadata)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Named tensors and the metadata written with them.

    Raises:
        RunError: the file is missing, damaged, or may not be read.
    """
    with _opened(path) as file:
        return {k: file.get_tensor(k) for k in file.keys()}, _about(file)  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata written with named tensors, without reading these.

    Raises:
        RunError: the file is missing, damaged, or may not be read.
    """
    with _opened(path) as file:
        return _about(file)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with refuse_damaged(path), _one_file(path) as file:
        yield file


def _one_file(path: Path) -> Any:
    """A safetensors file opened for reading, though a writer may be replacing it.

    safetensors opens a path twice, for the header and for the data; between the two it can become
    another file. Only two openings of the same file count.
    """
    while True:
        with path.open("rb") as held:  # while it is held, no other file gets its inode
            failure: Exception | None = None
            try:
                opened = safe_open(path, "pt")
            except Exception as error:
                failure = error
            if os.path.samestat(os.fstat(held.fileno()), path.stat()):
                if failure:
                    raise failure
                return opened


def _about(file: Any) -> dict[str, Any]:
    return {k: json.loads(v) for k, v in (file.metadata() or {}).items()}


def read_matrix(path: Path, n_rows: int) -> NDArray[np.float32]:
    """The tensor ``embeddings`` of a file: float32 ``(n_rows, d)``, one row per item.

    Raises:
        RunError: the file is missing or damaged, or holds something else.
    """
    tensors, _ = read_tensors(path)
    found = tensors.get("embeddings", torch.empty(0))
    is_matrix = found.ndim == 2 and len(found) == n_rows and found.shape[1] > 0
    if found.dtype != torch.float32 or not is_matrix:
        raise RunError(
            f"{path} is damaged (embeddings: {found.dtype} {tuple(found.shape)}, expected "
            f"torch.float32 ({n_rows}, any)); fit the run again"
        )
    values: NDArray[np.float32] = found.numpy()
    return values
