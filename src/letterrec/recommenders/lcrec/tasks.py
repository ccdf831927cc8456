"""The tasks that a language model is trained on, as prompts with answers.

Each task is a small function from a `Case`, which holds the data of one example, to the parts of a
training text. Parts that are ``wanted`` are the answer: they carry loss. The tasks follow "Adapting
Large Language Models by Integrating Collaborative Semantics for Recommendation" (LC-Rec, ICDE'24);
the wording is our own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from letterrec.errors import DataError

_WORDS = 12  # at most, of a title or text in a prompt: longer prompts make every step slower
_QUERY_WORDS = 6  # at most, of a query that is made up from an item's text
_PREFERENCE_WORDS = 40  # at most, of the words on what a user likes
_TITLES = 5  # at most, of the latest items in a prompt that has titles for identifiers


@dataclass(frozen=True)
class PromptPart:
    """A piece of a prompt: either text, or items, which are spelled by their identifiers.

    Attributes:
        text: empty where the part is items.
        items: item rows, or events where behaviours are told apart; empty where the part is text.
        wanted: whether the model is to learn to write this part.
        alone: whether the items are meant themselves, and no behaviour stands before them.
    """

    text: str = ""
    items: tuple[int, ...] = ()
    wanted: bool = False
    alone: bool = False


@dataclass(frozen=True, eq=False)
class Case:
    """The data that one example of a task is made from.

    Attributes:
        window: at least two item rows, or events, in the order in which one user chose them.
        n_items: size of the catalogue.
        titles: one per item; None where the data have no text.
        texts: one per item, title first; None where the data have no text.
        random: draws what an example leaves open: where to cut, which item, which words.
        preference: what the user likes, in words; empty where that is not known.
        n_behaviours: kinds of interactions. Of more than one, what is called an item here is an
            event: its row times this, plus the row of the behaviour.
    """

    window: Sequence[int]
    n_items: int
    titles: Sequence[str] | None
    texts: Sequence[str] | None
    random: np.random.Generator
    preference: str = ""
    n_behaviours: int = 1

    def cut(self) -> tuple[tuple[int, ...], int]:
        """Cut the window at random into a history and the item that follows it."""
        at = int(self.random.integers(1, len(self.window)))
        return tuple(self.window[:at]), self.window[at]

    def any_item(self) -> int:
        """Draw an item of the catalogue."""
        return int(self.random.integers(self.n_items)) * self.n_behaviours

    def title(self, item: int) -> str:
        """The title of an item, cut to `_WORDS`."""
        assert self.titles is not None
        return _cut(self.titles[item // self.n_behaviours])

    def description(self, item: int) -> str:
        """An item's text without its title, cut to `_WORDS`; the title where no more is said."""
        assert self.titles is not None
        assert self.texts is not None
        row = item // self.n_behaviours
        text, title = self.texts[row], self.titles[row]
        return _cut(text.removeprefix(title).lstrip(". ") or title)

    def query(self, item: int) -> str:
        """Draw words in which someone could ask for an item: a few successive ones of its text."""
        words = f"{self.title(item)} {self.description(item)}".split()
        length = int(self.random.integers(1, 1 + min(_QUERY_WORDS, len(words))))
        start = int(self.random.integers(len(words) - length + 1))
        return " ".join(words[start : start + length]).strip(".,;:")


def history(items: Sequence[int], query: str | None = None) -> list[PromptPart]:
    """The prompt that the next item continues, in training as in recommending.

    Args:
        items: item rows, oldest first; may be empty where there is a query.
        query: what the user asks for, in words.
    """
    parts = (
        [PromptPart("Chosen so far, oldest first: "), PromptPart(items=tuple(items))]
        if items
        else []
    )
    if query is not None:
        request = f"Wanted now: {_cut(query)}\nNext: "
        parts.append(PromptPart(f"\n{request}" if items else request))
    return parts


def seqrec(case: Case) -> list[PromptPart]:
    """Identifiers of the history -> identifier of the next item.

    The prompt is a list that the next item continues, so one text trains the model to predict
    every item of the window but the first.
    """
    first, *others = case.window
    return [*history([first]), PromptPart(items=tuple(others), wanted=True)]


def item2index(case: Case) -> list[PromptPart]:
    """Title or description of an item, either in half of the cases -> its identifier."""
    item = case.any_item()
    described = case.random.random() < 0.5
    known = case.description(item) if described else case.title(item)
    return [
        PromptPart(f"{known}\nIdentifier: "),
        PromptPart(items=(item,), wanted=True, alone=True),
    ]


def index2item(case: Case) -> list[PromptPart]:
    """Identifier of an item -> its title."""
    item = case.any_item()
    return [
        PromptPart("Identifier: "),
        PromptPart(items=(item,), alone=True),
        PromptPart("\nTitle: "),
        PromptPart(case.title(item), wanted=True),
    ]


def titled(case: Case) -> list[PromptPart]:
    """Identifiers of the history and the title of its latest item -> identifier of the next."""
    items, target = case.cut()
    return _with_words(items, case.title(items[-1]), target)


def described(case: Case) -> list[PromptPart]:
    """Identifiers of the history and a description of its latest item -> identifier of the next."""
    items, target = case.cut()
    return _with_words(items, case.description(items[-1]), target)


def index2title(case: Case) -> list[PromptPart]:
    """Identifiers of the history -> title of the next item."""
    items, target = case.cut()
    return [
        *history(items),
        PromptPart("\nNext title: "),
        PromptPart(case.title(target), wanted=True),
    ]


def titles2index(case: Case) -> list[PromptPart]:
    """Titles of the latest items of the history -> identifier of the next item."""
    items, target = case.cut()
    titles = "; ".join(case.title(item) for item in items[-_TITLES:])
    return [
        PromptPart(f"Chosen so far: {titles}\nNext: "),
        PromptPart(items=(target,), wanted=True),
    ]


def query(case: Case) -> list[PromptPart]:
    """A query in words, after a history in three of four cases -> identifier of the item.

    Queries are made up from the texts of items. A user's wishes are worded the same (`history`).
    """
    items, target = case.cut()
    known = items if case.random.random() < 0.75 else ()
    return [*history(known, case.query(target)), PromptPart(items=(target,), wanted=True)]


def preference(case: Case) -> list[PromptPart]:
    """Identifiers of the history -> what the user likes, in words; `seqrec` where it is unknown."""
    if not case.preference:
        return seqrec(case)
    summary = _cut(case.preference, _PREFERENCE_WORDS)
    return [*history(case.window), PromptPart("\nLikes: "), PromptPart(summary, wanted=True)]


TASKS: dict[str, Callable[[Case], list[PromptPart]]] = {
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


def refuse_tasks_without_text(
    tasks: Mapping[str, float], texts: Sequence[str] | None, preferences: Sequence[str] | None
) -> None:
    """Refuse tasks that need words that the data do not have.

    Args:
        tasks: weights of the tasks; those of weight 0 are not looked at.
        texts: of the items, if there are any.
        preferences: of the users, if there are any.

    Raises:
        DataError: a task needs the words of items or of users, and there are none.
    """
    if tasks.get("preference") and preferences is None:
        raise DataError(
            "recommender.tasks: preference needs what users like, in words, and the source has "
            "none; add users.csv (columns user, preference) or NAME.user.json, or leave it out"
        )
    without = ("seqrec", "preference")
    needing = sorted(task for task, weight in tasks.items() if weight > 0 and task not in without)
    if needing and texts is None:
        raise DataError(
            f"recommender.tasks: {', '.join(needing)} need words, and the items have no text; "
            "leave these tasks out, or use a source with item texts"
        )


def _with_words(items: tuple[int, ...], words: str, target: int) -> list[PromptPart]:
    aside = PromptPart(f"\nThe latest is: {words}\nNext: ")
    return [*history(items), aside, PromptPart(items=(target,), wanted=True)]


def _cut(text: str, words: int = _WORDS) -> str:
    return " ".join(text.split()[:words])
