"""Files of named tensors: safetensors, written and read. `arrays` reads them without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from letterrec.errors import RunError
from letterrec.files import atomic_path
from letterrec.files.arrays import metadata_of, opened


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
    with opened(path, "pt") as file:
        return {k: file.get_tensor(k) for k in file.keys()}, metadata_of(file)  # noqa: SIM118


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
