"""Wishes told apart into what is wanted and what is ruled out."""

from __future__ import annotations

import time

import pytest

from letterrec.recommenders.wishes.parsing import Wish, without_claims


@pytest.mark.parametrize(
    ("text", "wanted", "excluded"),
    [
        ("something for sensitive skin", "something for sensitive skin", ()),
        ("a moisturizer, no perfume", "a moisturizer", ("perfume",)),
        ("No Perfume!", "", ("perfume",)),
        ("something without any fragrance", "", ("fragrance",)),
        ("nail polish but not red", "nail polish", ("red",)),
        ("no glitter, red nail polish", "red nail polish", ("glitter",)),
        ("no perfume, alcohol or dye", "", ("perfume", "alcohol", "dye")),
        (
            "shampoo without sulfates and parabens for kids",
            "shampoo for kids",
            ("sulfates", "parabens"),
        ),
        ("lotion free of fragrance", "lotion", ("fragrance",)),
        ("I don't want perfume", "", ("perfume",)),
        ("I don\u2019t like musicals", "", ("musicals",)),
        ("anything but shampoo", "", ("shampoo",)),
        ("action but no war movies please", "action please", ("war movies",)),
        ("makeup except lipstick and mascara", "makeup", ("lipstick", "mascara")),
        ("fragrance-free lotion", "fragrance-free lotion", ("fragrance",)),
        ("non-greasy hand cream", "non-greasy hand cream", ("greasy",)),
        ("no. 7 cream", "no. 7 cream", ()),
        ("no-rinse shampoo", "no-rinse shampoo", ()),
        ("notebook, nonfiction", "notebook, nonfiction", ()),
        ("no", "no", ()),
        ("without", "without", ()),
        ("a film about nothing", "a film about nothing", ()),
        ("ein Film ohne Musik", "ein Film ohne Musik", ()),
    ],
)
def test_what_is_wanted_and_what_is_ruled_out(
    text: str, wanted: str, excluded: tuple[str, ...]
) -> None:
    assert Wish.parse(text) == Wish(wanted, excluded)


@pytest.mark.parametrize("part", ["no ", "no a, ", "a-", "not too ", "x free ", "but with i "])
def test_long_texts_are_read_in_no_time(part: str) -> None:
    started = time.perf_counter()
    Wish.parse(part * 500)
    assert time.perf_counter() - started < 2


def test_claims_are_no_words_of_an_item() -> None:
    assert without_claims("a fragrance-free, non-greasy lotion") == "a , lotion"
