"""The catalogue as it stands at one moment: trained items, items added since, and their states.

A catalogue is immutable. An edit makes a new one that keeps every row and identifier and appends
the new items. This also holds when the file of edits is replaced by an older or another one: rows
whose items the file lacks are *gone*. They keep their identifiers, so that queries prepared before
keep their meaning, but no id maps to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.data import Dataset
from letterrec.decoding.constraints import counted
from letterrec.decoding.trie import Trie
from letterrec.errors import NotFound
from letterrec.identifiers.identifiers import Identifiers
from letterrec.linear.transitions import Transitions
from letterrec.serving.catalogue.changes import Words
from letterrec.serving.catalogue.directory import Directory
from letterrec.serving.catalogue.filters import Attributes, Key
from letterrec.serving.catalogue.states import GONE, STATES, State
from letterrec.training.devices import device

_FILTERS = 64  # by attribute, that are kept: a byte for each item of the catalogue


class Part(NamedTuple):
    """Items of a catalogue that may be recommended, ready for a search.

    Attributes:
        flags: bool ``(n_rows,)``: which they are.
        allowed: the same on the device of the model.
        before: how many of them stand before each place of the trie (`constraints.counted`): so any
            range of the trie tells whether it leads to one. None where there is no trie.
    """

    flags: NDArray[np.bool_]
    allowed: Tensor
    before: Tensor | None


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Items, row for row.

    Attributes:
        item_ids: external ids.
        came_with: the titles that the items came with.
        identifiers: the code sequence of every item, also of blocked and deleted ones.
        popularity: int64 ``(n_rows,)`` occurrences in training; 0 for added items.
        states: int8 ``(n_rows,)`` index into `STATES`, or beyond for rows that are gone. Only
            active items are recommended; blocked items can still be looked at; all but those that
            are gone may occur in a history.
        n_trained: the first so many rows are the items trained on.
        generation: counts the edits since training.
        trie: of ``identifiers``, on the device of the model; None where they are of no levels, as
            a baseline has no use for them.
        transitions: item-to-item weights for the next item; None where the run does without.
        added_texts: what was encoded of the added items.
        added_content: float32 ``(n_added, d_content)`` of the added items.
        lineage: of the edits; see `Changes`.
        attributes: of the items trained on; added items have none.
        edited: row -> what is shown instead of the title, text and image that the item came with.
        domains: which source each item is of; where the run has one, all are of that, unless they
            were added to another.
        came_with_images: addresses of the images that the items came with, ``""`` where there is
            none.
    """

    item_ids: tuple[str, ...]
    came_with: tuple[str, ...]
    identifiers: Identifiers
    popularity: NDArray[np.int64]
    states: NDArray[np.int8]
    n_trained: int
    generation: int
    trie: Trie | None
    transitions: Transitions | None = None
    added_texts: tuple[str, ...] = ()
    added_content: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, 0), dtype=np.float32)
    )
    lineage: str = ""
    attributes: Attributes | None = None
    edited: dict[int, Words] = field(default_factory=dict)
    domains: tuple[str, ...] = ()
    came_with_images: tuple[str, ...] = ()

    @classmethod
    def trained(
        cls, dataset: Dataset, identifiers: Identifiers, transitions: Transitions | None = None
    ) -> Catalogue:
        """The catalogue that a run was trained on."""
        return cls(
            dataset.item_ids,
            dataset.titles,
            identifiers,
            dataset.popularity,
            np.zeros(dataset.n_items, dtype=np.int8),
            dataset.n_items,
            0,
            trie_of(identifiers, dataset.popularity),
            transitions,
            attributes=Attributes(dataset),
            domains=dataset.domains or (dataset.name,) * dataset.n_items,
            came_with_images=dataset.images or ("",) * dataset.n_items,
        )

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """What the items are called."""
        return self._now(self.came_with, lambda words: words.title)

    @cached_property
    def images(self) -> tuple[str, ...]:
        """Addresses of the items' images, ``""`` where there is none."""
        return self._now(self.came_with_images, lambda words: words.image)

    def _now(self, came: tuple[str, ...], of: Callable[[Words], str]) -> tuple[str, ...]:
        """What the items came with, and for those that were edited what is shown instead."""
        if not self.edited:
            return came
        shown = list(came)
        for row, words in self.edited.items():
            shown[row] = of(words)
        return tuple(shown)

    @property
    def n_rows(self) -> int:
        """Number of rows, including those of items that are gone."""
        return len(self.item_ids)

    @cached_property
    def n_items(self) -> int:
        """Number of items in any state, except those that are gone."""
        return int(self.is_present.sum())

    @cached_property
    def is_present(self) -> NDArray[np.bool_]:
        """bool ``(n_rows,)``: false for rows that are gone."""
        return np.asarray(self.states != GONE)

    @cached_property
    def present(self) -> Identifiers:
        """The identifiers without those of rows that are gone."""
        if self.n_items == self.n_rows:
            return self.identifiers
        return replace(self.identifiers, codes=self.identifiers.codes[self.is_present])

    @cached_property
    def rows(self) -> dict[str, int]:
        """External id -> row, of all items but those that are gone."""
        if self.n_items == self.n_rows:
            return {item: row for row, item in enumerate(self.item_ids)}
        return {item: row for row, item in enumerate(self.item_ids) if self.is_present[row]}

    @cached_property
    def domain_names(self) -> tuple[str, ...]:
        """The domains that have items, except those that are gone, in the order of their items."""
        names = dict.fromkeys(self.domains)
        if self.n_items < self.n_rows:
            there = zip(self.domains, self.is_present.tolist(), strict=True)
            names = dict.fromkeys(name for name, present in there if present)
        return tuple(names)

    def domain(self, name: str) -> Part:
        """The items of a domain that may be recommended; made once for a catalogue."""
        part = self._parts.get(name)
        if part is None:
            flags = np.array([own == name for own in self.domains]) & (self.states == 0)
            allowed = torch.from_numpy(flags).to(device())
            before = None if self.trie is None else counted(self.trie, allowed)
            part = self._parts[name] = Part(flags, allowed, before)
        return part

    @cached_property
    def _parts(self) -> dict[str, Part]:
        return {}

    def spelled(self, row: int) -> str:
        """The identifier of a row as text; cached, since most lists show the same few items."""
        text = self._spelled.get(row)
        if text is None:
            text = self._spelled[row] = self.identifiers.spelled(row)
        return text

    @cached_property
    def _spelled(self) -> dict[int, str]:
        return {}

    @cached_property
    def active(self) -> Tensor | None:
        """bool ``(n_rows,)`` on the device of the model: what may be recommended; None if all."""
        if not self.states.any():
            return None
        return torch.from_numpy(self.states == 0).to(device())

    def where(self, key: Key) -> NDArray[np.bool_]:
        """bool ``(n_rows,)``: the items that a filter by attribute lets through. Kept, so that the
        same filter is the same array.

        Raises:
            RequestError: no item has such an attribute or value.
        """
        mask = self._filters.get(key)
        if mask is None:
            mask = np.zeros(self.n_rows, dtype=bool)
            if self.attributes is not None:
                mask[: self.n_trained] = self.attributes.mask(key)
            while len(self._filters) >= _FILTERS:
                self._filters.pop(next(iter(self._filters)), None)
            self._filters[key] = mask
        return mask

    def allowed(self, mask: NDArray[np.bool_]) -> tuple[Tensor, Tensor | None]:
        """bool ``(n_rows,)`` on the device of the model: the active items of a mask, and what
        is counted of them (`constraints.counted`). Of a filter by attribute both are made once.
        """
        known = self._allowed.get(id(mask))
        if known is not None and known[0] is mask:
            return known[1:]
        flags = np.zeros(self.n_rows, dtype=bool)
        flags[: len(mask)] = mask  # items that were added since are not among those it allows
        allowed = torch.from_numpy(flags).to(device())
        if self.active is not None:
            allowed &= self.active
        if any(mask is kept for kept in tuple(self._filters.values())):
            while len(self._allowed) >= _FILTERS:
                self._allowed.pop(next(iter(self._allowed)), None)
            before = None if self.trie is None else counted(self.trie, allowed)
            self._allowed[id(mask)] = (mask, allowed, before)
            return allowed, before
        return allowed, None

    @cached_property
    def _filters(self) -> dict[Key, NDArray[np.bool_]]:
        return {}

    @cached_property
    def _allowed(self) -> dict[int, tuple[NDArray[np.bool_], Tensor, Tensor | None]]:
        return {}

    def row(self, item: str) -> int:
        """The row of an item that is not deleted.

        Raises:
            NotFound: there is none.
        """
        row = self.rows.get(item)
        if row is None or STATES[self.states[row]] == "deleted":
            raise NotFound(
                f"item {item!r} is not in the catalogue; check the id, or add the item first"
            )
        return row

    def count(self, state: State) -> int:
        """How many items are in a state."""
        return int((self.states == STATES.index(state)).sum())

    @cached_property
    def directory(self) -> Directory:
        """What finds items."""
        return Directory(
            self.item_ids,
            self.titles,
            self.identifiers.codes,
            self.popularity,
            self.states,
            self.rows,
            self.n_trained,
        )


def trie_of(identifiers: Identifiers, popularity: NDArray[np.int64]) -> Trie | None:
    """The trie on the device of the model; None where identifiers are of no levels."""
    return Trie.build(identifiers, popularity).to(device()) if identifiers.n_levels else None
