"""Wishes that items would answer, made up from their words: what a recommender learns wishes from.

A wish names an item by its category, by some words of its title (among them its brand, which
titles begin with) or of what else is said of it; never by its whole title. Words are left out and
misspelt, and half of the wishes are phrased as people phrase them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from letterrec.data.text import category_path

TEMPLATES = (
    "something {}",
    "{} please",
    "looking for {}",
    "i am looking for {}",
    "i need {}",
    "i want {}",
    "i would like {}",
    "show me {}",
    "do you have {}",
    "any {}",
    "some {}",
    "a good {}",
    "the best {}",
    "{} for me",
    "find me {}",
    "recommend {}",
    "can you recommend {}",
    "in the mood for {}",
    "something like {}",
    "more {}",
)
_PHRASED = 0.5  # share of wishes that stand in a template
_DROPPED = 0.1  # share of words left out, of three and more
_MISSPELT = 0.08  # share of words of four and more letters that are misspelt
_KINDS = {"category": 0.35, "title": 0.3, "both": 0.2, "further": 0.15}
_LONGEST = 4  # words taken from a title or a text
_COMMON = 0.5  # share of the items from which on a category says nothing
_TRIES = 5
_WORD = re.compile(r"[^\W\d_][^\W_]*(?:['\u2019-][^\W_]+)*")
_NO_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at but by de for from in is it its la le new no non not of off on or our "
        "set size than that the this to with without your you free oz ml fl fluid ounce ounces "
        "pack count ct lb lbs mg kg gram grams inch inches pcs piece pieces",
    )
)


@dataclass(frozen=True)
class Described:
    """What is said of an item, as `wishes_of` words it.

    Attributes:
        title: its words in order, without those that say nothing.
        categories: names, the widest first, without those of most items.
        further: the words of its text beyond title and categories.
    """

    title: tuple[str, ...]
    categories: tuple[str, ...]
    further: tuple[str, ...]


def described(
    titles: Sequence[str],
    texts: Sequence[str],
    categories: Sequence[tuple[str, ...]] | None = None,
) -> list[Described]:
    """What wishes of each item can be made of.

    Args:
        titles: one per item.
        texts: one per item, title first.
        categories: one per item, the widest first; None where the data have none.
    """
    paths = categories or [()] * len(titles)
    names = Counter(name for path in paths for name in path)
    common = {name for name, n in names.items() if n > _COMMON * len(titles)}
    return [
        Described(
            words_in(title),
            tuple(name.casefold() for name in path if name not in common),
            words_in(" ".join(_segments(title, text, path))),
        )
        for title, text, path in zip(titles, texts, paths, strict=True)
    ]


def wishes_of(
    item: Described, n: int, random: np.random.Generator, *, clear: bool = False
) -> list[str]:
    """``n`` wishes for an item; ``""`` where its words allow none.

    Args:
        item: what is said of it.
        n: how many.
        random: draws kinds, words, phrases and mistakes.
        clear: whether no word is left out or misspelt.
    """
    return [_wish(item, random, clear) for _ in range(n)]


def words_in(text: str) -> tuple[str, ...]:
    """The words of a text that say something, in small letters.

    >>> words_in("OPI Nail Lacquer, 0.5-Fluid Ounce (Pack of 2)")
    ('opi', 'nail', 'lacquer')
    """
    found = (word.casefold() for word in _WORD.findall(text))
    return tuple(word for word in found if len(word) > 1 and word not in _NO_WORDS)


def _segments(title: str, text: str, path: tuple[str, ...]) -> list[str]:
    """The parts of an item's text that are neither its title nor its categories."""
    rest = text.removeprefix(title).lstrip(". ")
    return [part for part in rest.split(". ") if category_path(part) != path]


def _wish(item: Described, random: np.random.Generator, clear: bool) -> str:
    for _ in range(_TRIES):
        words = _named(item, random)
        words = words if clear else _misheard(words, random)
        if words and not _is_whole_title(words, item.title):
            phrase = " ".join(words)
            if random.random() < _PHRASED:
                phrase = TEMPLATES[random.integers(len(TEMPLATES))].format(phrase)
            return phrase
    return ""


def _named(item: Described, random: np.random.Generator) -> list[str]:
    """The words by which a wish names an item."""
    kinds = dict(_KINDS)
    if not item.categories:
        del kinds["category"], kinds["both"]
    if len(item.title) < 2:
        kinds.pop("title", None)
        kinds.pop("both", None)
    if not item.further:
        del kinds["further"]
    if not kinds:
        return []
    weights = np.array(list(kinds.values()))
    kind = str(random.choice(list(kinds), p=weights / weights.sum()))
    if kind == "title":
        return _some(item.title, random)
    if kind == "further":
        start = int(random.integers(len(item.further)))
        return list(item.further[start : start + int(random.integers(1, _LONGEST + 1))])
    category = _category(item.categories, random)
    if kind == "category":
        return category
    parts = [_some(item.title, random)[:2], category]
    return [word for part in (parts if random.random() < 0.7 else parts[::-1]) for word in part]


def _some(title: tuple[str, ...], random: np.random.Generator) -> list[str]:
    """Some words of a title of two and more, in their order; often the first ones, its brand."""
    most = min(_LONGEST, len(title) - 1)
    count = int(random.integers(1, most + 1))
    if random.random() < 0.3:
        return list(title[:count])
    return [title[i] for i in sorted(random.choice(len(title), count, replace=False))]


def _category(names: tuple[str, ...], random: np.random.Generator) -> list[str]:
    """A category in words: mostly the narrowest, whole or one of those that it joins."""
    narrow = random.random() < 0.7
    name = names[-1] if narrow else names[int(random.integers(len(names)))]
    joined = [part for part in re.split(r"\s*(?:&|,|/)\s*|\band\b", name) if part.strip()]
    if len(joined) > 1 and random.random() < 0.4:
        name = joined[int(random.integers(len(joined)))]
    words = list(words_in(name))
    if len(names) > 1 and name != names[-2] and random.random() < 0.15:
        words += [word for word in words_in(names[-2]) if word not in words]
    if words and random.random() < 0.4:
        words[-1] = singular(words[-1])
    return words


def singular(word: str) -> str:
    """A word without the ending of its plural.

    >>> [singular(word) for word in ("lotions", "brushes", "bodies", "gloss", "perfume")]
    ['lotion', 'brush', 'body', 'gloss', 'perfume']
    """
    if len(word) < 4 or word.endswith("ss"):
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(("shes", "ches", "sses", "xes")):
        return word[:-2]
    return word.removesuffix("s")


def _misheard(words: list[str], random: np.random.Generator) -> list[str]:
    """The words, some left out, some misspelt."""
    if len(words) > 2:
        words = [word for word in words if random.random() >= _DROPPED] or words[:1]
    return [
        _misspelt(word, random) if len(word) > 3 and random.random() < _MISSPELT else word
        for word in words
    ]


def _misspelt(word: str, random: np.random.Generator) -> str:
    """A word with a letter left out, doubled, replaced, or swapped with the next one."""
    at = int(random.integers(1, len(word) - 1))
    letter = chr(ord("a") + int(random.integers(26)))
    before, here, after = word[:at], word[at], word[at + 1 :]
    changed = (
        before + after,
        before + here + here + after,
        before + letter + after,
        before + after[0] + here + after[1:],
    )
    return changed[int(random.integers(len(changed)))]


def _is_whole_title(words: list[str], title: tuple[str, ...]) -> bool:
    return bool(title) and set(title) <= set(words)
