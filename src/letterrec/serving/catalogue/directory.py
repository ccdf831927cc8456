"""The directory of a catalogue: its items found by title, in the order of their ids, by codes."""

from __future__ import annotations

import bisect
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.serving.catalogue.states import STATES, State


@dataclass(frozen=True, eq=False)
class Directory:
    """Finds items of one catalogue, whose attributes these are; see `Catalogue`."""

    item_ids: Sequence[str]
    titles: Sequence[str]
    codes: NDArray[np.int32]
    popularity: NDArray[np.int64]
    states: NDArray[np.int8]
    rows: Mapping[str, int]
    n_trained: int

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

    def neighbours(self, row: int, n: int) -> list[tuple[int, int, int]]:
        """The nearest active items in code space.

        Items that share more leading codes are nearer, then those that share more codes at equal
        levels; ties go to the more popular one.

        Returns:
            Per neighbour its row, the shared leading codes, and the codes shared in all.
        """
        same = self.codes == self.codes[row]  # (n_rows, levels)
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
        columns = {
            "title": [fold(t) for t in self.titles],
            "popularity": self.popularity,
            "state": self.states,
            "row": np.arange(len(self.item_ids)),
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
