"""The files of a log's partitions, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.files import atomic_path


@dataclass(frozen=True)
class Partition:
    """The files of a partition: rows as they came, in order, and as numbers."""

    folder: Path
    number: int

    @property
    def spilled(self) -> list[Path]:
        """Its rows as they came."""
        return sorted(self.folder.glob(f"rows/*/partition={self.number}/*.parquet"))

    def file(self, name: str) -> Path:
        """A file of its own."""
        return self.folder / "partitions" / f"{self.number:06d}.{name}"

    @property
    def users(self) -> pl.DataFrame:
        """``user`` and ``length``, in the order of the sequences."""
        return pl.read_parquet(self.file("users.parquet"), glob=False)

    @property
    def items(self) -> NDArray[np.int32]:
        """int32: numbers of the items, user by user, memory-mapped."""
        items: NDArray[np.int32] = np.load(self.file("items.npy"), mmap_mode="r")
        return items

    @property
    def times(self) -> NDArray[np.float64]:
        """float64: times of the same rows, memory-mapped."""
        times: NDArray[np.float64] = np.load(self.file("times.npy"), mmap_mode="r")
        return times


def save(path: Path, values: NDArray[np.generic]) -> None:
    """Write an array as .npy."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, values)


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder that takes its name when the block ends well."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    temporary.rename(folder)
