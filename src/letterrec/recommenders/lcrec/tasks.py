"""What a language model is asked: LC-Rec's tasks, as prompts with answers.

Each task is a small function from a `Case` to the parts of one training text; parts that are
``wanted`` carry loss. The tasks follow "Adapting Large Language Models by Integrating Collaborative
Semantics for Recommendation" (LC-Rec, ICDE'24); the wording is our own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_WORDS = 12  # of a title or text in a prompt, at most: prompts are read many times
_QUERY_WORDS = 6  # of a made-up query, at most
_PREFERENCE_WORDS = 40  # of what a user likes, at most


@dataclass(frozen=True)
class Part:
    """Some text, or some items by their identifiers.

    Attributes:
        text: words; empty where the part is items.
        items: item rows.
        wanted: whether the model is to produce this part.
    """

    text: str = ""
    items: tuple[int, ...] = ()
    wanted: bool = False


@dataclass(frozen=True, eq=False)
class Case:
    """What a task is made from.

    Attributes:
        window: item rows in the order in which one user chose them, at least two.
        n_items: of the catalogue.
        titles: one per item; None where the data has no text.
        texts: one per item, title first; None where the data has none.
        random: draws cuts, items and words.
        preference: what the user likes, in words; empty where that is not known.
    """

    window: Sequence[int]
    n_items: int
    titles: Sequence[str] | None
    texts: Sequence[str] | None
    random: np.random.Generator
    preference: str = ""

    def cut(self) -> tuple[tuple[int, ...], int]:
        """A history from the window, and the item after it."""
        at = int(self.random.integers(1, len(self.window)))
        return tuple(self.window[:at]), self.window[at]

    def any_item(self) -> int:
        """Any item of the catalogue."""
        return int(self.random.integers(self.n_items))

    def title(self, item: int) -> str:
        """The title of an item, cut."""
        assert self.titles is not None
        return _cut(self.titles[item])

    def description(self, item: int) -> str:
        """What an item's text says beyond its title, cut; the title where that is nothing."""
        assert self.titles is not None
        assert self.texts is not None
        text, title = self.texts[item], self.titles[item]
        return _cut(text.removeprefix(title).lstrip(". ") or title)

    def query(self, item: int) -> str:
        """Words in which someone could ask for an item: a few neighbours from its text."""
        words = f"{self.title(item)} {self.description(item)}".split()
        length = int(self.random.integers(1, 1 + min(_QUERY_WORDS, len(words))))
        start = int(self.random.integers(len(words) - length + 1))
        return " ".join(words[start : start + length]).strip(".,;:")


def history(items: Sequence[int], query: str | None = None) -> list[Part]:
    """The prompt whose continuation is the next item, at inference and in training.

    Args:
        items: rows, oldest first; may be empty where there is a query.
        query: what the user says that they look for.
    """
    parts = [Part("Chosen so far, oldest first: "), Part(items=tuple(items))] if items else []
    if query is not None:
        asked = f"Wanted now: {_cut(query)}\nNext: "
        parts.append(Part(f"\n{asked}" if items else asked))
    return parts


def seqrec(case: Case) -> list[Part]:
    """Identifiers of the history -> identifier of the next item, at every item of the window.

    The prompt is a list and the next item continues it, so that one text trains every position.
    """
    first, *others = case.window
    return [*history([first]), Part(items=tuple(others), wanted=True)]


def item2index(case: Case) -> list[Part]:
    """Title or description of an item -> its identifier."""
    item = case.any_item()
    described = case.random.random() < 0.5
    known = case.description(item) if described else case.title(item)
    return [Part(f"{known}\nIdentifier: "), Part(items=(item,), wanted=True)]


def index2item(case: Case) -> list[Part]:
    """Identifier of an item -> its title."""
    item = case.any_item()
    return [
        Part("Identifier: "),
        Part(items=(item,)),
        Part("\nTitle: "),
        Part(case.title(item), wanted=True),
    ]


def titled(case: Case) -> list[Part]:
    """Title-aware: a history, the title of its latest item beside it -> the next item."""
    items, target = case.cut()
    return _with_words(items, case.title(items[-1]), target)


def described(case: Case) -> list[Part]:
    """Description-aware: a history, the latest item described beside it -> the next item."""
    items, target = case.cut()
    return _with_words(items, case.description(items[-1]), target)


def index2title(case: Case) -> list[Part]:
    """Asymmetric: identifiers of the history -> title of the next item."""
    items, target = case.cut()
    return [*history(items), Part("\nNext title: "), Part(case.title(target), wanted=True)]


def titles2index(case: Case) -> list[Part]:
    """Asymmetric: titles of the latest items of the history -> identifier of the next item."""
    items, target = case.cut()
    titles = "; ".join(case.title(item) for item in items[-5:])
    return [Part(f"Chosen so far: {titles}\nNext: "), Part(items=(target,), wanted=True)]


def query(case: Case) -> list[Part]:
    """What is wanted, in words -> the item; with a history before it in three of four cases.

    Queries are made up from the texts of items; `history` words them the same at inference.
    """
    items, target = case.cut()
    known = items if case.random.random() < 0.75 else ()
    return [*history(known, case.query(target)), Part(items=(target,), wanted=True)]


def preference(case: Case) -> list[Part]:
    """Preference summary: identifiers of the history -> what the user likes, in words.

    Where that is not known of the user, `seqrec`.
    """
    if not case.preference:
        return seqrec(case)
    summary = _cut(case.preference, _PREFERENCE_WORDS)
    return [*history(case.window), Part("\nLikes: "), Part(summary, wanted=True)]


TASKS: dict[str, Callable[[Case], list[Part]]] = {
    "seqrec": seqrec,
    "item2index": item2index,
    "index2item": index2item,
    "titled": titled,
    "described": described,
    "index2title": index2title,
    "titles2index": titles2index,
    "query": query,
    "preference": preference,
}


def _with_words(items: tuple[int, ...], words: str, target: int) -> list[Part]:
    aside = Part(f"\nThe latest is: {words}\nNext: ")
    return [*history(items), aside, Part(items=(target,), wanted=True)]


def _cut(text: str, words: int = _WORDS) -> str:
    return " ".join(text.split()[:words])
