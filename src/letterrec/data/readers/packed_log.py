"""A log packed into sequences of rows, and the notes on what was dropped from it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from letterrec.data import times
from letterrec.data.readers.side_tables import counted
from letterrec.data.sequences import Histories
from letterrec.errors import DataError

MOST_TIMELESS = 0.1  # share of the rows that may lack a time, and are dropped then


class Packed(NamedTuple):
    """A log as rows.

    Attributes:
        user_ids: in the order of their rows.
        item_ids: in the order of their rows.
        interactions: one sequence per user, in the order of time.
        times: float64, seconds since 1970 of each interaction; None where there is only an order.
    """

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    interactions: Histories
    times: NDArray[np.float64] | None


def note_lacking(n: int, notes: list[str]) -> None:
    """Count interactions that lack an id."""
    if n:
        notes.append(f"{counted(n, 'interaction')} without user or item: dropped")


def note_repeated(n: int, notes: list[str]) -> None:
    """Count interactions that repeat others."""
    if n:
        notes.append(f"{counted(n, 'duplicate interaction')} (same user, item and time): dropped")


def drop_timeless(
    n: int, kept: int, first: tuple[int, object], where: object, notes: list[str]
) -> None:
    """Count the rows that have no time, of ``n``; refuse a column where many have none."""
    example = f"row {first[0]} has time {first[1]!r}"
    if n - kept > MOST_TIMELESS * n:
        many = f" ({n - kept:,} of {n:,} rows have none that can be read)" if n - kept > 1 else ""
        raise DataError(f"{where}: {example}; expected {times.EXPECTED}{many}")
    notes.append(f"{counted(n - kept, 'interaction')} without a time ({example}): dropped")
