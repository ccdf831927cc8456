"""Which items have in their own words what a wish rules out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from letterrec.recommenders.wishes.parsing import Wish, without_claims
from letterrec.recommenders.wishes.wording import singular, words_in

Rows = NDArray[np.int64]
_KEPT = 1000  # phrases looked up


class WordIndex:
    """The words of a catalogue's items, looked up when a wish first rules something out.

    Args:
        texts: one per item, title first.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._found: dict[str, tuple[Rows, Rows]] = {}

    def having(self, phrase: str) -> tuple[Rows, Rows]:
        """int64 rows of the items whose texts have all words of a phrase, and of those whose texts
        say that they are free of it.

        >>> words = WordIndex(["Rose perfumes", "Lotion, perfume-free", "Soap"])
        >>> [rows.tolist() for rows in words.having("perfume")]
        [[0], [1]]
        """
        if phrase not in self._found:
            if len(self._found) >= _KEPT:
                self._found.clear()
            self._found[phrase] = self._look_up(phrase)
        return self._found[phrase]

    def _look_up(self, phrase: str) -> tuple[Rows, Rows]:
        wanted = _stems(phrase)
        lists = [self._rows[stem] for stem in wanted if stem in self._rows]
        if not wanted or len(lists) < len(wanted):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        having, free = [], []
        for row in sorted(set(lists[0]).intersection(*lists[1:])):
            said = Wish.parse(self._texts[row])
            if not said.excluded or wanted <= _stems(without_claims(said.wanted)):
                having.append(row)
            elif any(wanted <= _stems(one) for one in said.excluded):
                free.append(row)
        return np.array(having, dtype=np.int64), np.array(free, dtype=np.int64)

    @cached_property
    def _rows(self) -> dict[str, list[int]]:
        rows = defaultdict(list)
        for row, text in enumerate(self._texts):
            for stem in _stems(text):
                rows[stem].append(row)
        return dict(rows)


def _stems(text: str) -> set[str]:
    return {singular(part) for word in words_in(text) for part in word.split("-")}
