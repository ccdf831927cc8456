"""Held-out interactions: where training ends, and which interactions are asked for.

Leave-one-out holds out the last interaction of every user and the one before it; `temporal` holds
out what comes after a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from letterrec.data.sequences import Histories

Split = Literal["valid", "test"]
SPLITS: tuple[Split, ...] = ("valid", "test")


@dataclass(frozen=True, eq=False)
class Cut:
    """Where each user's sequence is cut: training, then validation, then test, in time order.

    Attributes:
        valid: int64 ``(n_users,)``: how many interactions come before validation: those of
            training.
        test: int64 ``(n_users,)``: how many come before the test; at least ``valid``.
    """

    valid: NDArray[np.int64]
    test: NDArray[np.int64]

    @classmethod
    def leave_one_out(cls, lengths: NDArray[np.int64]) -> Cut:
        """The latest interaction of each user is test, the one before it validation; users with
        fewer than three, of whom nothing is held out, keep theirs.

        >>> cut = Cut.leave_one_out(np.array([5, 2]))
        >>> cut.valid.tolist(), cut.test.tolist()
        ([3, 2], [4, 2])
        """
        held = lengths >= 3
        return cls(lengths - 2 * held, lengths - held)

    @classmethod
    def nothing(cls, lengths: NDArray[np.int64]) -> Cut:
        """Nothing is held out: everything is training."""
        return cls(lengths, lengths)

    @classmethod
    def last_targets(cls, sequences: Histories, is_target: NDArray[np.bool_]) -> Cut:
        """Leave-one-out where some interactions are context: of each user the latest interaction
        that is a target is test, the target before it validation. Users with fewer than two targets
        that something comes before keep theirs.

        Args:
            sequences: all interactions, one sequence per user.
            is_target: bool ``(n_interactions,)``: which can be asked for.

        >>> sequences = Histories.from_lists([[5, 6, 7, 8], [5, 6]])
        >>> cut = Cut.last_targets(sequences, np.array([True, True, False, True, True, True]))
        >>> cut.valid.tolist(), cut.test.tolist()
        ([1, 2], [3, 2])
        """
        user = np.repeat(np.arange(len(sequences)), sequences.lengths)
        place = np.flatnonzero(is_target & (np.arange(len(user)) > sequences.offsets[user]))
        user = user[place]
        number = np.bincount(user, minlength=len(sequences))
        latest = np.cumsum(number) - 1  # in `place`, of each user with a target
        held = number >= 2
        valid, test = sequences.lengths.copy(), sequences.lengths.copy()
        first = sequences.offsets[:-1][held]
        valid[held] = place[latest[held] - 1] - first
        test[held] = place[latest[held]] - first
        return cls(valid, test)

    def cases(
        self, split: Split, sequences: Histories, is_target: NDArray[np.bool_] | None = None
    ) -> HeldOut:
        """Of each user the first interaction of a split, where it has one and one comes before.

        Args:
            split: ``"valid"`` or ``"test"``.
            sequences: all interactions, one sequence per user.
            is_target: bool ``(n_interactions,)``: which can be asked for, where the others are
                context; None: all.
        """
        start, stop = self._windows(split, sequences, is_target)
        users = np.flatnonzero((start > 0) & (start < stop))
        first = sequences.offsets[users]
        asked = first + start[users]
        of_each = None if sequences.behaviours is None else sequences.behaviours[asked]
        return HeldOut(users, sequences.slice(first, asked), sequences.items[asked], of_each)

    def newcomers(
        self, split: Split, sequences: Histories, is_target: NDArray[np.bool_] | None = None
    ) -> int:
        """Users whose first interaction of a split is their first of all: there is no history to
        ask with. The arguments are those of `cases`.

        >>> cut = Cut(np.array([0, 0]), np.array([0, 0]))
        >>> sequences = Histories.from_lists([[5, 6], [7]])
        >>> cut.newcomers("test", sequences)
        2
        >>> cut.newcomers("test", sequences, np.array([False, True, True]))
        1
        """
        start, stop = self._windows(split, sequences, is_target)
        return int(((start == 0) & (stop > 0)).sum())

    def _windows(
        self, split: Split, sequences: Histories, is_target: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """int64 ``(n_users,)`` each: where a user's first interaction of a split that can be asked
        for stands in his sequence, and where the split ends; no earlier, where it has none.
        """
        start = self.valid if split == "valid" else self.test
        stop = self.test if split == "valid" else sequences.lengths
        if is_target is not None:
            places = np.append(np.flatnonzero(is_target), len(is_target))
            begin = sequences.offsets[:-1] + start
            start = places[np.searchsorted(places, begin)] - sequences.offsets[:-1]
        return start, stop


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One held-out interaction per user, with the history that precedes it.

    Attributes:
        users: int64 ``(n,)`` user rows.
        histories: the ``n`` histories, uncut.
        targets: int32 ``(n,)`` item rows.
        behaviours: int8 ``(n,)`` behaviour rows of the targets; None where there is one kind.
    """

    users: NDArray[np.int64]
    histories: Histories
    targets: NDArray[np.int32]
    behaviours: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: NDArray[np.integer]) -> HeldOut:
        """The cases at ``rows``."""
        of_each = None if self.behaviours is None else self.behaviours[rows]
        return HeldOut(self.users[rows], self.histories.take(rows), self.targets[rows], of_each)


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
