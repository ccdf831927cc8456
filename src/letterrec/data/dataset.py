"""Interactions, items and their split: what every reader produces and every later step takes.

Knows external ids and time order (kept in the order of the rows). Leaves file formats to the
readers beside it, and text embeddings, identifiers and models to the steps that follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from letterrec.errors import DataError

Split = Literal["valid", "test"]


@dataclass(frozen=True, eq=False)
class Histories:
    """Item sequences of different lengths, stored flat: sequence ``i`` is
    ``items[offsets[i]:offsets[i + 1]]``, oldest item first.

    Attributes:
        offsets: int64 ``(n_sequences + 1,)``, starting at 0.
        items: int32 ``(offsets[-1],)`` item rows.
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]

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

    def drop_last(self, n: int) -> Histories:
        """Each sequence without its ``n`` latest items (empty where it is shorter).

        >>> [h.tolist() for h in Histories.from_lists([[1, 2, 3], [4]]).drop_last(2)]
        [[1], []]
        """
        return self.slice(self.offsets[:-1], np.maximum(self.offsets[:-1], self.offsets[1:] - n))

    def latest(self, n: int) -> Histories:
        """Each sequence cut to its ``n`` latest items.

        >>> [h.tolist() for h in Histories.from_lists([[1, 2, 3], [4]]).latest(2)]
        [[2, 3], [4]]
        """
        return self.slice(np.maximum(self.offsets[:-1], self.offsets[1:] - n), self.offsets[1:])

    def take(self, rows: NDArray[np.integer]) -> Histories:
        """The sequences at ``rows``, in that order."""
        return self.slice(self.offsets[:-1][rows], self.offsets[1:][rows])

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
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        index = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], lengths)
        return Histories(offsets, self.items[index])

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


@dataclass(frozen=True, eq=False)
class Dataset:
    """A catalogue and its interactions, ready to train on.

    Attributes:
        name: what the source is called.
        user_ids: external user ids; their position is the user row.
        item_ids: external item ids; their position is the item row.
        interactions: one sequence per user, in time order.
        titles: one per item; the item's id where the source has no title.
        texts: one per item, what the content encoder reads; None where the source has no text.
        given_tokens: identifiers that came with the source, as token strings such as ``<a_12>``,
            one sequence per item; None where there are none.
        given_cf: float32 ``(n_items, d)`` CF embeddings that came with the source; None if none.
        preferences: one per user, what the user likes, in words, ``""`` where that is not known;
            None where the source says nothing of its users.
        warnings: what was dropped or doubtful on reading, one counted line each.
    """

    name: str
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    interactions: Histories
    titles: tuple[str, ...]
    texts: tuple[str, ...] | None = None
    given_tokens: tuple[tuple[str, ...], ...] | None = None
    given_cf: NDArray[np.float32] | None = None
    preferences: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}: {self.n_users:,} users, {self.n_items:,} items, "
            f"{self.n_interactions:,} interactions)"
        )

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.item_ids)

    @property
    def n_interactions(self) -> int:
        """Number of interactions."""
        return len(self.interactions.items)

    @cached_property
    def user_rows(self) -> dict[str, int]:
        """External user id -> row."""
        return {u: i for i, u in enumerate(self.user_ids)}

    @cached_property
    def item_rows(self) -> dict[str, int]:
        """External item id -> row."""
        return {u: i for i, u in enumerate(self.item_ids)}

    def training(self) -> Histories:
        """Leave-one-out: every user's interactions but the latest two; users with fewer than
        three, of whom nothing is held out, keep theirs.
        """
        stops = self.interactions.offsets[1:]
        cut = np.where(self.interactions.lengths >= 3, stops - 2, stops)
        return self.interactions.slice(self.interactions.offsets[:-1], cut)

    def held_out(self, split: Split) -> HeldOut:
        """Leave-one-out: the latest interaction of each user (``test``) or the one before it
        (``valid``), for the users with at least three interactions.

        The history of a test case includes the validation item.
        """
        if split not in ("valid", "test"):
            raise DataError(f"unknown split {split!r}; expected 'valid' or 'test'")
        users = np.flatnonzero(self.interactions.lengths >= 3)
        back = 1 if split == "test" else 2
        targets = self.interactions.items[self.interactions.offsets[users + 1] - back]
        return HeldOut(users, self.interactions.take(users).drop_last(back), targets)

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever an id, a row or a sequence does."""
        from letterrec.files import fingerprint

        sequences = (self.interactions.offsets, self.interactions.items)
        return fingerprint(self.user_ids, self.item_ids, *sequences)

    @cached_property
    def side_fingerprint(self) -> str:
        """Changes whenever what came beside the interactions does: texts, preferences, tokens,
        embeddings.
        """
        from letterrec.files import fingerprint

        tokens = self.given_tokens or ()
        cf = () if self.given_cf is None else (self.given_cf,)
        said = () if self.preferences is None else (self.preferences,)
        return fingerprint(self.texts or (), *said, *tokens, *cf)

    @property
    def side_fingerprints(self) -> dict[str, str]:
        """The same of each of them alone."""
        from letterrec.files import fingerprint

        cf = () if self.given_cf is None else (self.given_cf,)
        return {
            "texts": fingerprint(self.titles, self.texts or ()),
            "preferences": fingerprint(self.preferences or ()),
            "tokens": fingerprint(*(self.given_tokens or ())),
            "embeddings": fingerprint(*cf),
        }

    @cached_property
    def popularity(self) -> NDArray[np.int64]:
        """int64 ``(n_items,)``: how often each item occurs in the training interactions."""
        return np.bincount(self.training().items, minlength=self.n_items).astype(np.int64)
