"""The k-core of a log in partitions, and its sequences as memory-mapped arrays.

Looks at one partition at a time: memory grows with users and items, not with interactions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from tempfile import TemporaryFile
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.data import times
from letterrec.data.ids import in_row_order
from letterrec.data.readers.k_core import report_core
from letterrec.data.readers.packed_log import Packed
from letterrec.data.readers.partition_files import Partition
from letterrec.data.sequences import Histories

Number = TypeVar("Number", np.int32, np.float64)
_BLOCK = 3_000_000  # times that are divided at a time


def k_core_of(
    partitions: Sequence[Partition], n_items: int, k: int, where: object, notes: list[str]
) -> list[NDArray[np.bool_]]:
    """bool, of each partition: the rows of the k-core; see `k_core.k_core`.

    Raises:
        DataError: nothing is left.
    """
    lengths = [p.users["length"].to_numpy().astype(np.int64) for p in partitions]
    kept = [np.ones(int(length.sum()), dtype=bool) for length in lengths]
    before = _sizes(partitions, lengths, kept, n_items)
    while True:
        counts = np.zeros(n_items, dtype=np.int64)
        for partition, mask in zip(partitions, kept, strict=True):
            counts += np.bincount(partition.items[mask], minlength=n_items)
        enough, is_changed = counts >= k, False
        for i, partition in enumerate(partitions):
            mask = kept[i] & enough[partition.items]
            mask &= np.repeat(_per_user(mask, lengths[i]) >= k, lengths[i])
            is_changed |= bool((mask != kept[i]).any())
            kept[i] = mask
        if not is_changed:
            break
    after = _sizes(partitions, lengths, kept, n_items)
    report_core(before, after, k, where, notes)
    return kept


def _per_user(mask: NDArray[np.bool_], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64: how many rows of each user are left."""
    ends = np.cumsum(lengths)
    total = np.append(0, np.cumsum(mask, dtype=np.int64))
    return np.asarray(total[ends] - total[ends - lengths])


def _sizes(
    partitions: Sequence[Partition],
    lengths: Sequence[NDArray[np.int64]],
    kept: Sequence[NDArray[np.bool_]],
    n_items: int,
) -> tuple[int, int, int]:
    """Users, items and interactions that are left."""
    present = np.zeros(n_items, dtype=bool)
    users = interactions = 0
    for partition, length, mask in zip(partitions, lengths, kept, strict=True):
        present[partition.items[mask]] = True
        users += int((_per_user(mask, length) > 0).sum())
        interactions += int(mask.sum())
    return users, int(present.sum()), interactions


def joined(
    partitions: Sequence[Partition], kept: Sequence[NDArray[np.bool_]], item_ids: tuple[str, ...]
) -> Packed:
    """One sequence per user, in the order of the users' ids; items that occur, numbered anew."""
    present = np.zeros(len(item_ids), dtype=bool)
    left: list[pl.DataFrame] = []
    for number, (partition, mask) in enumerate(zip(partitions, kept, strict=True)):
        present[partition.items[mask]] = True
        users = partition.users
        n = _per_user(mask, users["length"].to_numpy().astype(np.int64))
        left.append(
            pl.DataFrame({"id": users["user"], "n": n, "place": np.arange(len(n))})
            .filter(pl.col("n") > 0)
            .with_columns(partition=pl.lit(number, pl.Int32))
        )
    row_of = (np.cumsum(present) - 1).astype(np.int32)
    users = in_row_order(pl.concat(left)).with_row_index("row")
    offsets = np.append(0, np.cumsum(users["n"].to_numpy(), dtype=np.int64))
    items = _on_disk(int(offsets[-1]), np.int32)
    seconds = _on_disk(int(offsets[-1]), np.float64)
    for number, (partition, mask) in enumerate(zip(partitions, kept, strict=True)):
        mine = users.filter(pl.col("partition") == number).sort("place")
        n = mine["n"].to_numpy()
        shift = offsets[mine["row"].to_numpy()] - (np.cumsum(n) - n)
        places = np.arange(int(n.sum())) + np.repeat(shift, n)
        items[places] = row_of[partition.items[mask]]
        seconds[places] = partition.times[mask]
    unit = times.per_second(float(max((block.max() for block in _blocks(seconds)), default=0.0)))
    for block in _blocks(seconds):
        block /= unit
    ids = tuple(item_ids[i] for i in np.flatnonzero(present))
    return Packed(tuple(users["id"]), ids, Histories(offsets, items), seconds)


def _blocks(values: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Views of an array, one after the other."""
    return (values[start : start + _BLOCK] for start in range(0, len(values), _BLOCK))


def _on_disk(size: int, dtype: type[Number]) -> NDArray[Number]:
    """An array in a file without a name, which is gone with the array."""
    if not size:
        return np.zeros(0, dtype)
    with TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=(size,))
