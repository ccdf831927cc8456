"""Item sequences of different lengths, packed into two arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 18  # sequences that are copied at a time: places of items take more than items


@dataclass(frozen=True, eq=False)
class Histories:
    """Item sequences of different lengths, stored flat: sequence ``i`` is
    ``items[offsets[i]:offsets[i + 1]]``, oldest item first.

    Attributes:
        offsets: int64 ``(n_sequences + 1,)``, starting at 0.
        items: int32 ``(offsets[-1],)`` item rows.
        behaviours: int8 ``(offsets[-1],)``: by which behaviour each item came into its sequence, as
            a row of `Dataset.behaviours`; None where there is one kind of interaction.
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    behaviours: NDArray[np.int8] | None = None

    @classmethod
    def from_lists(cls, sequences: Iterable[Sequence[int]]) -> Histories:
        """Pack lists of item rows.

        >>> Histories.from_lists([[3, 1], [], [2]]).offsets.tolist()
        [0, 2, 2, 3]
        """
        rows = [np.asarray(s, dtype=np.int32) for s in sequences]
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(r) for r in rows], out=offsets[1:])
        items = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int32)
        return cls(offsets, items)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        return self.items[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        return (self[i] for i in range(len(self)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 ``(n_sequences,)``: items per sequence."""
        return np.diff(self.offsets)

    def events(self, n_behaviours: int) -> Histories:
        """The same sequences of events: an item row times the number of behaviours, plus the row of
        the behaviour. Of one behaviour that is the item row.

        Args:
            n_behaviours: how many there are.

        >>> bought_then_viewed = Histories(
        ...     np.array([0, 2]), np.array([4, 0], np.int32), np.array([1, 0], np.int8)
        ... )
        >>> bought_then_viewed.events(2).items.tolist()
        [9, 0]
        """
        if n_behaviours == 1:
            return Histories(self.offsets, self.items)
        events = self.items * np.int32(n_behaviours)
        return Histories(
            self.offsets, events if self.behaviours is None else events + self.behaviours
        )

    def only(self, behaviours: NDArray[np.bool_] | None) -> Histories:
        """The interactions of some behaviours; all where there are none to tell apart.

        Args:
            behaviours: bool ``(n_behaviours,)``: which stay; None: all.
        """
        if behaviours is None or self.behaviours is None:
            return self
        stays = behaviours[self.behaviours]
        offsets = np.append(0, np.cumsum(stays, dtype=np.int64))[self.offsets]
        return Histories(offsets, self.items[stays], self.behaviours[stays])

    def latest(self, n: int) -> Histories:
        """Each sequence cut to its ``n`` latest items.

        >>> [h.tolist() for h in Histories.from_lists([[1, 2, 3], [4]]).latest(2)]
        [[2, 3], [4]]
        """
        return self.slice(np.maximum(self.offsets[:-1], self.offsets[1:] - n), self.offsets[1:])

    def take(self, rows: NDArray[np.integer]) -> Histories:
        """The sequences at ``rows``, in that order."""
        return self.slice(self.offsets[:-1][rows], self.offsets[1:][rows])

    def places(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """int64: where in ``items`` the items of `take` come from.

        >>> Histories.from_lists([[7, 8], [9]]).places(np.array([1, 0])).tolist()
        [2, 0, 1]
        """
        return self._index(self.offsets[:-1][rows], self.lengths[rows])

    def padded(self, max_length: int | None = None) -> NDArray[np.int64]:
        """int64 ``(n_sequences, longest)``: item rows, left-aligned, ``-1`` after the end.

        >>> Histories.from_lists([[1, 2, 3], [4]]).padded().tolist()
        [[1, 2, 3], [4, -1, -1]]
        """
        cut = self if max_length is None else self.latest(max_length)
        width = int(cut.lengths.max(initial=0))
        out = np.full((len(cut), width), -1, dtype=np.int64)
        out[np.arange(width)[None, :] < cut.lengths[:, None]] = cut.items
        return out

    def slice(self, start: NDArray[np.int64], stop: NDArray[np.int64]) -> Histories:
        """The sequences ``items[start[i]:stop[i]]``; bounds int64 ``(n,)`` into ``items``."""
        lengths = stop - start
        offsets = np.append(0, np.cumsum(lengths, dtype=np.int64))
        items = np.empty(offsets[-1], dtype=np.int32)
        behaviours = (
            None if self.behaviours is None else np.empty_like(items, self.behaviours.dtype)
        )
        for first in range(0, len(lengths), _BLOCK):
            rows = slice(first, first + _BLOCK)
            index = self._index(start[rows], lengths[rows])
            places = slice(int(offsets[first]), int(offsets[first]) + len(index))
            items[places] = self.items[index]
            if behaviours is not None and self.behaviours is not None:
                behaviours[places] = self.behaviours[index]
        return Histories(offsets, items, behaviours)

    @staticmethod
    def _index(start: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        shift: NDArray[np.int64] = np.repeat(start - np.cumsum(lengths) + lengths, lengths)
        return np.arange(len(shift)) + shift

    def n_windows(self, width: int) -> NDArray[np.int64]:
        """int64 ``(n,)``: into how many `windows` each sequence is cut."""
        return np.maximum(-(-(self.lengths - 1) // (width - 1)), 0).astype(np.int64)

    def windows(self, width: int) -> Histories:
        """The sequences cut into windows of at most ``width`` items, so that each item but a
        sequence's first is predicted once: consecutive windows share one item.

        >>> sequences = Histories.from_lists([[1, 2, 3, 4], [5], [6, 7]])
        >>> [w.tolist() for w in sequences.windows(3)]
        [[1, 2], [2, 3, 4], [6, 7]]
        """
        step = width - 1
        counts = self.n_windows(width)
        sequence = np.repeat(np.arange(len(self)), counts)
        later = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(len(sequence))
        stop = self.offsets[1:][sequence] - step * later
        return self.slice(np.maximum(self.offsets[:-1][sequence], stop - width), stop)
