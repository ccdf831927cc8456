"""Items that have in their words what is ruled out."""

from __future__ import annotations

import pytest

from letterrec.recommenders.wishes.excluding import WordIndex

WORDS = WordIndex(
    [
        "Rose perfumes",
        "Lotion, perfume-free",
        "Cream without perfume or dye",
        "Perfume-free soap with a perfume of roses. Perfume",
        "Soap. Rose water",
    ]
)


@pytest.mark.parametrize(
    ("phrase", "having", "free"),
    [
        ("perfume", [0, 3], [1, 2]),
        ("rose water", [4], []),
        ("roses", [0, 3, 4], []),
        ("dyes", [], [2]),
        ("motor oil", [], []),
        ("the", [], []),
    ],
)
def test_items_with_the_words_and_those_free_of_them(
    phrase: str, having: list[int], free: list[int]
) -> None:
    for _ in range(2):  # looked up, and remembered
        found = WORDS.having(phrase)
        assert [rows.tolist() for rows in found] == [having, free]
