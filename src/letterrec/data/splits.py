"""Held-out interactions: the last and the last but one of every user (leave-one-out)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from letterrec.data.sequences import Histories

Split = Literal["valid", "test"]
SPLITS: tuple[Split, ...] = ("valid", "test")


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One held-out interaction per user, with the history that precedes it.

    Attributes:
        users: int64 ``(n,)`` user rows.
        histories: the ``n`` histories, uncut.
        targets: int32 ``(n,)`` item rows.
    """

    users: NDArray[np.int64]
    histories: Histories
    targets: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: NDArray[np.integer]) -> HeldOut:
        """The cases at ``rows``."""
        return HeldOut(self.users[rows], self.histories.take(rows), self.targets[rows])


def returning_share(cases: HeldOut) -> float:
    """The share of targets that are in the history before them; 0 where there are no cases.

    >>> from letterrec.data import Histories
    >>> histories = Histories.from_lists([[3, 1], [], [2, 2]])
    >>> targets = np.array([1, 1, 3], dtype=np.int32)
    >>> round(returning_share(HeldOut(np.arange(3), histories, targets)), 2)
    0.33
    """
    if not len(cases):
        return 0.0
    case = np.repeat(np.arange(len(cases)), cases.histories.lengths)
    had = cases.histories.items == cases.targets[case]
    return float(np.bincount(case[had], minlength=len(cases)).astype(bool).mean())


def sample_cases(cases: HeldOut, n: int, seed: int) -> HeldOut:
    """At most ``n`` cases, the same for the same seed."""
    if len(cases) <= n:
        return cases
    rows = np.random.default_rng(seed).choice(len(cases), n, replace=False)
    return cases.take(np.sort(rows))
