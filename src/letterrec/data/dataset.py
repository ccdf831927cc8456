"""Interactions, items and their split: what every reader produces and every later step takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from letterrec.data.sequences import Histories
from letterrec.data.splits import HeldOut, Split
from letterrec.errors import DataError


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
        categories: one per item: its category and those above it, the widest first, ``()`` where
            that is not known; None where the source has no categories.
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
    categories: tuple[tuple[str, ...], ...] | None = None
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
