"""Interactions, items and their split: what every reader produces and every later step takes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.data.sequences import Histories
from letterrec.data.splits import Cut, HeldOut, Split, returning_share
from letterrec.errors import DataError
from letterrec.files import fingerprint


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
        attributes: what the catalogue's further columns say of the items: a column of lists of
            texts for each, an item per row; None where the source has none.
        images: one per item, the address of its image, ``""`` where it has none; None where no item
            has one.
        warnings: what was dropped or doubtful on reading, one counted line each.
        times: float64 ``(n_interactions,)``: seconds since 1970 of each interaction, in the order
            of ``interactions``; None where the source has none, and in a run.
        cut: where training ends and what is held out; None: leave-one-out.
        behaviours: what the kinds of interactions are called, such as view and buy; ``()`` where
            there is one kind. Their position is the behaviour row.
        targets: rows of the behaviours that are to be predicted and evaluated, the others being
            context; ``()``: all.
        graded: whether the behaviours are grades of ratings: of an item that has one already no
            other is expected.
        domains: one per item, which of several sources it is of; None where there is one.
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
    attributes: pl.DataFrame | None = None
    images: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = field(default=())
    times: NDArray[np.float64] | None = None
    cut: Cut | None = None
    behaviours: tuple[str, ...] = ()
    targets: tuple[int, ...] = ()
    graded: bool = False
    domains: tuple[str, ...] | None = None

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

    @cached_property
    def bounds(self) -> Cut:
        """Where each user's sequence is cut."""
        if self.cut is None and self.is_target is not None:
            return Cut.last_targets(self.interactions, self.is_target)
        return self.cut or Cut.leave_one_out(self.interactions.lengths)

    @property
    def n_behaviours(self) -> int:
        """Number of kinds of interactions, at least 1."""
        return max(1, len(self.behaviours))

    @cached_property
    def target_behaviours(self) -> NDArray[np.bool_] | None:
        """bool ``(n_behaviours,)``: which are to be predicted; None where all are."""
        if not self.targets or self.interactions.behaviours is None:
            return None
        return np.isin(np.arange(self.n_behaviours), self.targets)

    @cached_property
    def is_target(self) -> NDArray[np.bool_] | None:
        """bool ``(n_interactions,)``: which are of a target behaviour; None where all are."""
        chosen, of_each = self.target_behaviours, self.interactions.behaviours
        return None if chosen is None or of_each is None else chosen[of_each]

    def seen_by(self, behaviour: int = -1) -> NDArray[np.bool_] | None:
        """bool ``(n_behaviours,)``: the behaviours by which an item of a history counts as seen
        already; None: all do.

        What was viewed may still be bought: seen is what that behaviour has come upon before.
        A rating comes once: what has any grade is seen.

        Args:
            behaviour: a behaviour's row; -1: those to be predicted.
        """
        if self.graded or self.interactions.behaviours is None:
            return None
        return (
            self.target_behaviours if behaviour < 0 else np.arange(self.n_behaviours) == behaviour
        )

    def training(self) -> Histories:
        """The interactions that are learned from, one sequence per user: by leave-one-out all but
        the latest two; users with fewer than three, of whom nothing is held out, keep theirs.
        """
        first = self.interactions.offsets[:-1]
        return self.interactions.slice(first, first + self.bounds.valid)

    def held_out(self, split: Split, behaviour: int = -1) -> HeldOut:
        """Of each user the first interaction of the split, and all that he had before.

        By leave-one-out that is the latest interaction (``test``) or the one before it
        (``valid``), for the users with at least three interactions. The history of a test case
        includes the validation items.

        Args:
            split: ``"valid"`` or ``"test"``.
            behaviour: row of the one whose first interaction it is, be it no target; -1: any of the
                targets.
        """
        if split not in ("valid", "test"):
            raise DataError(f"unknown split {split!r}; expected 'valid' or 'test'")
        return self.bounds.cases(split, self.interactions, self._wanted(behaviour))

    def newcomers(self, split: Split, behaviour: int = -1) -> int:
        """Users whom `held_out` leaves out for want of a history: nothing comes before their first
        interaction of the split.
        """
        return self.bounds.newcomers(split, self.interactions, self._wanted(behaviour))

    def _wanted(self, behaviour: int) -> NDArray[np.bool_] | None:
        """bool ``(n_interactions,)``: which are of a behaviour, be it no target; -1: of any of the
        targets. None where all are.
        """
        of_each = self.interactions.behaviours
        return self.is_target if behaviour < 0 or of_each is None else of_each == behaviour

    @cached_property
    def returning(self) -> float:
        """The share of validation targets that are in the history before them: how often people
        come back to what they had.
        """
        cases = self.held_out("valid")
        return returning_share(replace(cases, histories=cases.histories.only(self.seen_by())))

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever an id, a row, a sequence, a behaviour or what is held out does."""
        sequences = (self.interactions.offsets, self.interactions.items)
        bounds = () if self.cut is None else (self.cut.valid, self.cut.test)
        of_each = self.interactions.behaviours
        kinds = () if of_each is None else (self.behaviours, of_each, np.array(self.targets))
        return fingerprint(self.user_ids, self.item_ids, *sequences, *bounds, *kinds)

    @cached_property
    def side_fingerprint(self) -> str:
        """Changes whenever what came beside the interactions does: texts, preferences, tokens,
        embeddings.
        """
        tokens = self.given_tokens or ()
        cf = () if self.given_cf is None else (self.given_cf,)
        said = () if self.preferences is None else (self.preferences,)
        return fingerprint(self.texts or (), *said, *tokens, *cf)

    @property
    def side_fingerprints(self) -> dict[str, str]:
        """The same of each of them alone."""
        cf = () if self.given_cf is None else (self.given_cf,)
        return {
            "texts": fingerprint(self.titles, self.texts or ()),
            "preferences": fingerprint(self.preferences or ()),
            "tokens": fingerprint(*(self.given_tokens or ())),
            "embeddings": fingerprint(*cf),
        }

    @cached_property
    def popularity(self) -> NDArray[np.int64]:
        """int64 ``(n_items,)``: how often each item occurs in the training interactions that are
        targets.
        """
        targets = self.training().only(self.target_behaviours)
        return np.bincount(targets.items, minlength=self.n_items).astype(np.int64)
