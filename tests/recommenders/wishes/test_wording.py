"""Wishes made up from items: never the whole title, and as people word them."""

from __future__ import annotations

import numpy as np

from letterrec.recommenders.wishes.parsing import Wish
from letterrec.recommenders.wishes.wording import (
    TEMPLATES,
    Described,
    described,
    wishes_of,
    words_in,
)

TITLES = (
    "OPI Nail Lacquer, Big Apple Red, 0.5-Fluid Ounce",
    "Sulfate Free Argan Shampoo Without Parabens",
    "Heat",
    "12345",
)
CATEGORIES = (
    ("Beauty", "Makeup", "Nails", "Nail Polish"),
    ("Beauty", "Hair Care", "Creams & Shampoos"),
    ("Beauty",),
    (),
)
TEXTS = (
    *(f"{t}. {', '.join(c)}. sold by Suds" for t, c in zip(TITLES[:3], CATEGORIES, strict=False)),
    "12345",
)


def made(row: int, n: int = 300, *, clear: bool = False) -> list[str]:
    items = described(TITLES, TEXTS, CATEGORIES)
    return wishes_of(items[row], n, np.random.default_rng(0), clear=clear)


def test_what_is_said_of_an_item() -> None:
    first, _, third, last = described(TITLES, TEXTS, CATEGORIES)
    assert first.title == ("opi", "nail", "lacquer", "big", "apple", "red")
    assert first.categories == ("makeup", "nails", "nail polish")  # "Beauty" is of most items
    assert first.further == ("sold", "suds")
    assert third == Described(("heat",), (), ("sold", "suds"))
    assert last == Described((), (), ())


def test_no_wish_is_the_whole_title() -> None:
    for row in (0, 1, 2):
        title = set(words_in(TITLES[row]))
        assert not any(title <= set(words_in(wish)) for wish in made(row))


def test_wishes_name_categories_titles_and_what_else_is_said() -> None:
    wishes = made(0, clear=True)
    for words in ("nail polish", "opi", "makeup", "suds"):
        assert sum(words in wish for wish in wishes) >= 5
    phrased = [
        wish
        for wish in wishes
        if any(wish.startswith(t.split("{")[0]) for t in TEMPLATES if t[0] != "{")
    ]
    assert 0.25 < len(phrased) / len(wishes) < 0.75


def test_clear_wishes_have_no_mistakes_and_others_have_some() -> None:
    known = {word for text in (*TITLES, *TEXTS, *TEMPLATES) for word in words_in(text)}
    known |= {word.removesuffix("s") for word in known}
    strange = [set(words_in(wish)) - known for wish in made(0)]
    assert 10 < sum(map(bool, strange)) < 150
    assert not any(set(words_in(wish)) - known for wish in made(0, clear=True))


def test_made_wishes_rule_nothing_out() -> None:
    assert all(Wish.parse(wish).excluded == () for row in (0, 1) for wish in made(row))


def test_an_item_without_words_has_no_wish_and_the_same_seed_the_same_wishes() -> None:
    assert set(made(3)) == {""}
    assert made(0) == made(0)
