"""The catalogue as it stands at one moment: trained items, items added since, and their states.

A catalogue is immutable. An edit makes a new one that keeps every row and identifier and appends
the new items. This also holds when the file of edits is replaced by an older or another one: rows
whose items the file lacks are *gone*. They keep their identifiers, so that queries prepared before
keep their meaning, but no id maps to them.
"""

from __future__ import annotations

import bisect
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.data import Dataset
from letterrec.decoding.constraints import counted
from letterrec.decoding.transitions import Transitions
from letterrec.decoding.trie import Trie
from letterrec.errors import NotFound
from letterrec.identifiers.identifiers import Identifiers
from letterrec.serving.catalogue.filters import Attributes, Key
from letterrec.serving.catalogue.log import Changes, Words
from letterrec.training.devices import device

State = Literal["active", "blocked", "deleted"]
STATES: tuple[State, ...] = ("active", "blocked", "deleted")
_FILTERS = 64  # by attribute, that are kept: a byte for each item of the catalogue
_GONE = len(STATES)  # the state of rows whose items are not in the file of edits any more


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
        transitions: which item speaks for which; None where the run does without.
        added_texts: what was encoded of the added items.
        added_content: float32 ``(n_added, d_content)`` of the added items.
        lineage: of the edits; see `Changes`.
        attributes: of the items trained on; added items have none.
        edited: row -> what is shown instead of the title and text that the item came with.
        domains: which source each item is of; where the run has one, all are of that, unless they
            were added to another.
        images: addresses of images of the items trained on, ``""`` where there is none; ``()``
            where no item has one.
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
    images: tuple[str, ...] = ()

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
            _trie(identifiers, dataset.popularity),
            transitions,
            attributes=Attributes(dataset),
            domains=dataset.domains or (dataset.name,) * dataset.n_items,
            images=dataset.images or (),
        )

    def changed(
        self, changes: Changes, trained: Catalogue, content: NDArray[np.float32] | None
    ) -> Catalogue:
        """The catalogue with all these edits and no others; rows of this one keep their meaning.

        Args:
            changes: all edits since training.
            trained: the catalogue without edits.
            content: float32 ``(n_trained, d_content)``: added items inherit the transitions of
                their nearest items in it. None: they have no transitions.
        """
        n = self.n_trained
        rows, new = self._places(changes)
        ids = self.item_ids + tuple(changes.item_ids[i] for i in new)
        identifiers, popularity, added_content = (
            self.identifiers,
            self.popularity,
            self.added_content,
        )
        if len(new):
            codes = np.concatenate([identifiers.codes, changes.codes[new]])
            identifiers = replace(identifiers, codes=codes)
            popularity = np.append(popularity, np.zeros(len(new), np.int64))
            more = changes.content[new]
            added_content = np.concatenate([added_content, more]) if len(added_content) else more
        states = np.zeros(len(ids), dtype=np.int8)
        states[n:] = _GONE
        states[rows] = 0
        is_same = not len(new) and np.array_equal(states != _GONE, self.is_present)
        trie, transitions = self.trie, self.transitions
        if not is_same:
            trie = _trie(_searched(identifiers, states), popularity)
            transitions = self._followed(changes, rows, new, trained.transitions, content, len(ids))
        made = Catalogue(
            ids,
            self.came_with + tuple(changes.titles[i] for i in new),
            identifiers,
            popularity,
            states,
            n,
            changes.generation,
            trie,
            transitions,
            self.added_texts + tuple(changes.texts[i] for i in new),
            added_content,
            changes.lineage,
            attributes=self.attributes,
            domains=self.domains + self._named(tuple(changes.domains[i] for i in new)),
            images=self.images,
        )
        if is_same:
            made.__dict__["rows"] = self.rows
        for item, state in changes.states.items():
            if item in made.rows:
                states[made.rows[item]] = STATES.index(state)
        for item, words in changes.words.items():
            if item in made.rows:
                made.edited[made.rows[item]] = words
        return made

    def _places(self, changes: Changes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """int64: the row of each added item, and which of them get new rows, at the end.

        An item that was there before, gone or not, keeps its row if id, title, text, codes and
        content are the same.
        """
        n, n_added = self.n_trained, self.n_rows - self.n_trained
        m = len(changes.item_ids)
        codes = self.identifiers.codes[n:]
        if (
            m >= n_added
            and changes.item_ids[:n_added] == self.item_ids[n:]
            and changes.titles[:n_added] == self.came_with[n:]
            and changes.texts[:n_added] == self.added_texts
            and self._named(changes.domains[:n_added]) == self.domains[n:]
            and np.array_equal(changes.codes[:n_added], codes)
            and (not n_added or np.array_equal(changes.content[:n_added], self.added_content))
        ):  # edits in sequence
            return np.arange(n, n + m), np.arange(n_added, m)
        mine = zip(
            self.item_ids[n:],
            self.came_with[n:],
            self.added_texts,
            self.domains[n:],
            [line.tobytes() for line in self.added_content],
            codes.tolist(),
            strict=True,
        )
        known = {(*words, *code): row for row, (*words, code) in enumerate(mine, start=n)}
        rows = np.zeros(m, dtype=np.int64)
        new: list[int] = []
        theirs = zip(
            changes.item_ids,
            changes.titles,
            changes.texts,
            self._named(changes.domains),
            [line.tobytes() for line in changes.content],
            changes.codes.tolist(),
            strict=True,
        )
        for i, (*words, code) in enumerate(theirs):
            row = known.get((*words, *code))
            if row is None:
                row = self.n_rows + len(new)
                new.append(i)
            rows[i] = row
        return rows, np.array(new, dtype=np.int64)

    def _named(self, domains: tuple[str, ...]) -> tuple[str, ...]:
        """The domains of added items; those that name none are of the first."""
        return tuple(name or self.domains[0] for name in domains)

    def _followed(
        self,
        changes: Changes,
        rows: NDArray[np.int64],
        new: NDArray[np.int64],
        trained: Transitions | None,
        content: NDArray[np.float32] | None,
        n_rows: int,
    ) -> Transitions | None:
        """Transitions of trained and added items, at their rows of the new catalogue."""
        if trained is None or self.transitions is None or content is None:
            return self.transitions
        is_longer = len(rows) - len(new) == self.n_rows - self.n_trained
        if is_longer and self.n_items == self.n_rows:
            return self.transitions.grown(content, changes.content[new])
        grown = trained.grown(content, changes.content) if len(rows) else trained
        return grown.at_rows(np.append(np.arange(self.n_trained), rows), n_rows)

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """What the items are called."""
        if not self.edited:
            return self.came_with
        titles = list(self.came_with)
        for row, words in self.edited.items():
            titles[row] = words.title
        return tuple(titles)

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
        return np.asarray(self.states != _GONE)

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

    def listed(
        self, after: str | None, limit: int, states: Collection[State], added: bool
    ) -> list[int]:
        """A page of the catalogue: rows in the order of their ids.

        Args:
            after: the last id of the page before; None begins with the first item.
            limit: rows at most.
            states: of the items wanted.
            added: only items that came after training.
        """
        rows = self._by_id
        start = 0
        if after is not None:
            start = bisect.bisect_right(rows, after, key=self.item_ids.__getitem__)
        wanted = [STATES.index(state) for state in states]
        page: list[int] = []
        for row in rows[start:]:
            if len(page) == limit:
                break
            if self.states[row] in wanted and (row >= self.n_trained or not added):
                page.append(row)
        return page

    @cached_property
    def _by_id(self) -> list[int]:
        """Rows of all items but those that are gone, in the order of their ids."""
        return [row for _, row in sorted(self.rows.items())]

    def count(self, state: State) -> int:
        """How many items are in a state."""
        return int((self.states == STATES.index(state)).sum())

    def neighbours(self, row: int, n: int) -> list[tuple[int, int, int]]:
        """The nearest active items in code space.

        Items that share more leading codes are nearer, then those that share more codes at equal
        levels; ties go to the more popular one.

        Returns:
            Per neighbour its row, the shared leading codes, and the codes shared in all.
        """
        same = self.identifiers.codes == self.identifiers.codes[row]  # (n_rows, levels)
        leading = np.cumprod(same, axis=1).sum(1)
        shared = same.sum(1)
        candidates = np.flatnonzero((shared > 0) & (self.states == 0))
        candidates = candidates[candidates != row]
        keys = (-self.popularity[candidates], -shared[candidates], -leading[candidates])
        best = candidates[np.lexsort(keys)][:n]
        return [(int(i), int(leading[i]), int(shared[i])) for i in best]

    def search(self, query: str, n: int) -> list[int]:
        """Rows of items whose titles hold every word of ``query``, case and accents aside.

        Titles that begin with the query come first, then the more popular ones. An item's own id
        finds it too. Deleted items are not found.
        """
        words = fold(query).split()
        exact = self.rows.get(query.strip())
        if not words:
            return []
        mask = pl.lit(True)
        for word in words:
            mask &= pl.col("title").str.contains(word, literal=True)
        phrase = " ".join(words)
        found = self._titles.filter(mask & (pl.col("state") < STATES.index("deleted")))
        ranked = found.sort(
            ~pl.col("title").str.starts_with(phrase),
            -pl.col("popularity"),
            "row",
        )
        rows: list[int] = ranked["row"].head(n + 1).to_list()
        if exact is not None and self.states[exact] < STATES.index("deleted"):
            rows = [exact, *(r for r in rows if r != exact)]
        return rows[:n]

    @cached_property
    def _titles(self) -> pl.DataFrame:
        columns: dict[str, Any] = {
            "title": [fold(t) for t in self.titles],
            "popularity": self.popularity,
            "state": self.states,
            "row": np.arange(self.n_rows),
        }
        return pl.DataFrame(columns)


def _trie(identifiers: Identifiers, popularity: NDArray[np.int64]) -> Trie | None:
    return Trie.build(identifiers, popularity).to(device()) if identifiers.n_levels else None


def _searched(identifiers: Identifiers, states: NDArray[np.int8]) -> Identifiers:
    """Identifiers for the trie, in which rows that are gone repeat those of other items.

    Such rows add no prefix, so that answers are those of a catalogue that never had them.
    """
    gone = np.flatnonzero(states == _GONE)
    if not len(gone):
        return identifiers
    kept = np.flatnonzero(states != _GONE)
    codes = identifiers.codes.copy()
    codes[gone] = codes[kept[np.arange(len(gone)) % len(kept)]]
    return replace(identifiers, codes=codes)


def fold(text: str) -> str:
    """Text as it is compared: without case, accents and repeated white space.

    >>> fold("  Crème  Brûlée ")
    'creme brulee'
    """
    plain = unicodedata.normalize("NFKD", text)
    letters = "".join(c for c in plain if not unicodedata.combining(c))
    return " ".join(letters.casefold().split())
