"""Interactions as integer arrays: time order, exact duplicates, the k-core.

Users and items are codes here, non-negative integers that need not be consecutive.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from letterrec.data.readers.side_tables import counted
from letterrec.data.sequences import Histories
from letterrec.errors import DataError


def stable_order(*keys: NDArray[np.number]) -> NDArray[np.int64]:
    """int64 ``(n,)``: what `numpy.lexsort` gives, for keys that are not negative; the last key
    is the primary one.

    A radix sort by 16 bits at a time, which NumPy does in linear time: 0.3 s for two million rows,
    where Polars' ``arg_sort_by`` takes 1.5 s and `numpy.lexsort` 0.8 s or more.

    >>> stable_order(np.array([2, 1, 1]), np.array([7, 7, 3])).tolist()
    [2, 1, 0]
    """
    order = np.arange(len(keys[0]))
    for key in keys:
        if key.dtype.kind == "f":  # non-negative floats are in the order of their bits
            key = (key + 0.0).view(np.int64)
        low = key.min()
        for shift in range(0, int(key.max() - low).bit_length(), 16):
            digit = ((key - low) >> shift).astype(np.uint16)[order]
            order = order[np.argsort(digit, kind="stable")]
    return order


def duplicates(
    users: NDArray[np.integer], items: NDArray[np.integer], times: NDArray[np.number]
) -> NDArray[np.bool_]:
    """bool ``(n,)``: rows that repeat an earlier one; rows are sorted by user, then time.

    >>> duplicates(np.array([0, 0, 0]), np.array([7, 8, 7]), np.array([1, 1, 1])).tolist()
    [False, False, True]
    """
    repeated = np.zeros(len(users), dtype=bool)
    tied = (users[1:] == users[:-1]) & (times[1:] == times[:-1])  # with the row before
    rows = np.flatnonzero(np.append(tied, False) | np.insert(tied, 0, False))
    if not len(rows):
        return repeated
    group = np.cumsum(np.insert(~tied, 0, True)[rows])
    order = np.lexsort((items[rows], group))
    rows, group = rows[order], group[order]
    same = (group[1:] == group[:-1]) & (items[rows][1:] == items[rows][:-1])
    repeated[rows[1:][same]] = True
    return repeated


def k_core(users: NDArray[np.integer], items: NDArray[np.integer], k: int) -> NDArray[np.int64]:
    """int64: the rows that are left when users and items with fewer than ``k`` interactions are
    dropped, repeatedly, until none is left to drop.

    >>> k_core(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 0]), 2).tolist()
    [0, 1, 2, 3]
    """
    kept = np.arange(len(users))
    while len(kept):
        enough = (np.bincount(users)[users] >= k) & (np.bincount(items)[items] >= k)
        if enough.all():
            break
        kept, users, items = kept[enough], users[enough], items[enough]
    return kept


def filter_k_core(
    users: NDArray[np.integer],
    items: NDArray[np.integer],
    k: int,
    where: object,
    notes: list[str],
) -> NDArray[np.int64]:
    """The rows of the `k_core`; a line of ``notes`` counts what was dropped.

    Raises:
        DataError: nothing is left.
    """
    kept = k_core(users, items, k)
    before = (_distinct(users), _distinct(items), len(users))
    after = (_distinct(users[kept]), _distinct(items[kept]), len(kept))
    report_core(before, after, k, where, notes)
    return kept


def report_core(
    before: tuple[int, int, int],
    after: tuple[int, int, int],
    k: int,
    where: object,
    notes: list[str],
) -> None:
    """Say what a k-core has dropped: users, items and interactions before and after.

    Raises:
        DataError: nothing is left.
    """
    if not after[2]:
        raise DataError(
            f"{where}: of {_size(*before)} none is left with {k} interactions per user and item; "
            "lower data.k_core (0 filters nothing)"
        )
    if after[2] < before[2]:
        dropped = _size(*(b - a for b, a in zip(before, after, strict=True)))
        notes.append(f"{k}-core: {dropped} dropped")


def note_short(interactions: Histories, notes: list[str]) -> None:
    """Count the users with too few interactions to hold any out."""
    short = int((interactions.lengths < 3).sum())
    if short:
        notes.append(
            f"{counted(short, 'user')} with fewer than 3 interactions: trained on, not evaluated"
        )


def _distinct(codes: NDArray[np.integer]) -> int:
    return int(np.count_nonzero(np.bincount(codes)))


def _size(users: int, items: int, interactions: int) -> str:
    return (
        f"{counted(users, 'user')}, {counted(items, 'item')} and "
        f"{counted(interactions, 'interaction')}"
    )
