"""The catalogue as it stands at one moment: items trained on, items added since, who may appear.

Knows an item's row, text, identifier and state. A catalogue never changes: an edit makes the next
one, in which every row and every identifier of the one before is the same and new items stand
behind. Leaves how edits reach the disk to `changes` and who makes them to `editing`.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.data import Dataset
from letterrec.decoding.trie import Trie
from letterrec.errors import NotFound
from letterrec.identifiers import Identifiers
from letterrec.serving.changes import Changes
from letterrec.training import device
from letterrec.transitions import Transitions

State = Literal["active", "blocked", "deleted"]
STATES: tuple[State, ...] = ("active", "blocked", "deleted")


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Items, row for row.

    Attributes:
        item_ids: external ids.
        titles: what the items are called.
        identifiers: the code sequence of every item, also of blocked and deleted ones.
        popularity: int64 ``(n_items,)`` occurrences in training; 0 for added items.
        states: int8 ``(n_items,)`` index into `STATES`. Only active items are recommended; blocked
            items can still be looked at; all of them may occur in a history.
        n_trained: the first so many rows are the items trained on.
        generation: counts the edits since training.
        trie: of ``identifiers``, on the device of the recommender.
        transitions: which item follows which; None where the run does without.
        added_texts: what was encoded of the added items.
    """

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    identifiers: Identifiers
    popularity: NDArray[np.int64]
    states: NDArray[np.int8]
    n_trained: int
    generation: int
    trie: Trie
    transitions: Transitions | None = None
    added_texts: tuple[str, ...] = ()

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
            Trie.build(identifiers, dataset.popularity).to(device()),
            transitions,
        )

    def changed(self, changes: Changes, content: NDArray[np.float32] | None) -> Catalogue:
        """This catalogue, as trained, with all edits since.

        Args:
            changes: all edits since training.
            content: float32 ``(n_trained, d_content)``: by it the transitions of added items are
                those of the items like them; None gives them none.
        """
        n = self.n_trained
        ids = self.item_ids[:n] + changes.item_ids
        codes = np.concatenate([self.identifiers.codes[:n], changes.codes])
        identifiers = replace(self.identifiers, codes=codes)
        popularity = np.append(self.popularity[:n], np.zeros(len(changes.item_ids), np.int64))
        grown = len(ids) != len(self.item_ids)
        states = np.zeros(len(ids), dtype=np.int8)
        rows = self.rows if not grown else {item: row for row, item in enumerate(ids)}
        for item, state in changes.states.items():
            states[rows[item]] = STATES.index(state)
        trie = Trie.build(identifiers, popularity).to(device()) if grown else self.trie
        transitions = self.transitions
        if grown and transitions is not None and content is not None:
            added = changes.content[len(self.item_ids) - n :]
            transitions = transitions.grown(content, added)
        return Catalogue(
            ids,
            self.titles[:n] + changes.titles,
            identifiers,
            popularity,
            states,
            n,
            changes.generation,
            trie,
            transitions,
            changes.texts,
        )

    @property
    def n_items(self) -> int:
        """Rows, whatever the state of the items."""
        return len(self.item_ids)

    @cached_property
    def rows(self) -> dict[str, int]:
        """External id -> row."""
        return {item: row for row, item in enumerate(self.item_ids)}

    def spelled(self, row: int) -> str:
        """The identifier of a row as people read it; remembered: few items are in most lists."""
        text = self._spelled.get(row)
        if text is None:
            text = self._spelled[row] = self.identifiers.spelled(row)
        return text

    @cached_property
    def _spelled(self) -> dict[int, str]:
        return {}

    @cached_property
    def active(self) -> Tensor | None:
        """bool ``(n_items,)`` on the device of the trie: what may be recommended; None if all."""
        if not self.states.any():
            return None
        return torch.from_numpy(self.states == 0).to(self.trie.items.device)

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

    def neighbours(self, row: int, n: int) -> list[tuple[int, int, int]]:
        """The nearest active items in code space.

        Near is who shares more leading codes, then more codes at equal places; ties go to the more
        popular.

        Returns:
            Per neighbour its row, the shared leading codes, and the codes shared in all.
        """
        same = self.identifiers.codes == self.identifiers.codes[row]  # (n_items, levels)
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
            "row": np.arange(self.n_items),
        }
        return pl.DataFrame(columns)


def fold(text: str) -> str:
    """Text as it is compared: without case, accents and repeated white space.

    >>> fold("  Crème  Brûlée ")
    'creme brulee'
    """
    plain = unicodedata.normalize("NFKD", text)
    letters = "".join(c for c in plain if not unicodedata.combining(c))
    return " ".join(letters.casefold().split())
