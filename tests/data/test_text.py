"""Only words enter an item's text."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from letterrec.data import read
from letterrec.data.text import ItemText, item_text, title_words, words_of

WriteTable = Callable[[pl.DataFrame, Path], Path]

LOG = "user,item,timestamp\nu,1,1\nu,2,2\n"


@pytest.mark.parametrize(
    "value",
    [
        *("3.99", "$1.00", "€ 5", "12,99 EUR", "from 12.99", "$1.00 - $3.00", "7", "-0.5", "100%"),
        *("True", "false", "nan", "None", "NULL", "<NA>", "1e16", "inf", "2018-07-31"),
        *("2018-07-31T12:00:00", "2018-07-31 12:00:00.5+02:00", "https://x.example/a b.jpg"[:19]),
        *(
            "//cdn.example.com/1.jpg",
            "www.example.com/x",
            "img/1.jpg",
            "data:image/png;base64,iVBO",
        ),
        *("<br/>", "<img src='x.png'>", "<script>var a = 'words';</script>", "<!-- words -->"),
        *("var aPageStart = (new Date()).getTime();", "***", True, 3, 3.5, None, {"a": "b"}),
    ],
)
def test_what_holds_no_words(value: Any) -> None:
    assert words_of(value) == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("<p>Nice &amp; <b>soft</b></p><br/>", "Nice & soft"),
        ("&lt;p&gt;Nice&lt;/p&gt;", "Nice"),
        ("un<b>believ</b>able<br>again", "unbelievable again"),
        ('<a href="http://x.y/z">See</a> https://x.y/z?q=1 now', "See now"),
        ("<STYLE type='x'>.a {color: red}</STYLE>Soap", "Soap"),
        (".aplus-v2 h1 { font-size: 3px; } Soap", "Soap"),
        ("Soap. var x = 3; function f() { return 1; }", "Soap."),
        ("I <3 soap, a < b > c", "I <3 soap, a < b > c"),
        ("for the var. x", "for the var. x"),
        ("100 ml", "100 ml"),
        ("漢字", "漢字"),
        (["Hair", ["Dye", "3.5"], "Hair"], "Hair, Dye"),
    ],
)
def test_words_stay(value: Any, words: str) -> None:
    assert words_of(value) == words


@pytest.mark.parametrize(
    "title", ["1984", "300", "7", "!!!", "Men & <3", "True", "[/import]", "Rs. 5"]
)
def test_titles_stay(title: str) -> None:
    assert item_text(title) == ItemText(title, title)
    assert title_words(title) == title


def test_a_title_is_shown_as_it_is_and_embedded_as_words() -> None:
    assert item_text("<b>Soap</b>", ["mild"]) == ItemText("<b>Soap</b>", "Soap. mild")


COLUMNS: dict[str, list[Any]] = {
    "item": [1, 2],
    "title": ["Lotion", "1984"],
    "price": ["3.99 each", "from 4"],
    "image_url": ["https://cdn.example.com/1.jpg", "1.jpg"],
    "sku": ["AB1", "AB2"],
    "stock": [1, 2],
    "is_new": [True, False],
    "release_year": [1996, None],
    "description": ["<p>Nice &amp; <b>soft</b></p><br/>", "12.99"],
}


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_only_words_of_a_table_enter(tmp_path: Path, kind: str, write_table: WriteTable) -> None:
    (tmp_path / "interactions.csv").write_text(LOG)
    frame = pl.DataFrame(COLUMNS)
    write_table(frame, tmp_path / f"items.{kind}")
    dataset = read(tmp_path, k_core=0)
    assert dataset.titles == ("Lotion", "1984")
    assert dataset.texts == ("Lotion. 1996. Nice & soft", "1984")


def test_numbers_as_titles_are_read_in_every_type(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text(LOG)
    for titles in ([1984, 300], [1984.0, 300.0], ["1984", "300.0"]):
        pl.DataFrame({"item": ["1", "2"], "title": titles}).write_parquet(
            tmp_path / "items.parquet"
        )
        assert read(tmp_path, k_core=0).titles == ("1984", "300")


def test_a_title_without_words_does_not_enter_the_text(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text(LOG)
    (tmp_path / "items.csv").write_text("item,title\n1,<script>f()</script>\n2,Soap\n")
    dataset = read(tmp_path, k_core=0)
    assert dataset.titles == ("<script>f()</script>", "Soap")
    assert dataset.texts == ("1", "Soap")


def test_amazon_titles_that_are_markup_or_scripts(tmp_path: Path) -> None:
    titles = [
        "var aPageStart = (new Date()).getTime();\nvar ue_t0",
        '<span id="productTitle" class="a-size-large">Mild lotion</span>',
    ]
    reviews = [
        {"reviewerID": "A", "asin": f"B{n}", "unixReviewTime": 1_400_000_000 + n} for n in (0, 1)
    ]
    meta = [
        {"asin": f"B{n}", "title": title, "price": "$1.00", "description": ["<b>Soft</b>"]}
        for n, title in enumerate(titles)
    ]
    for name, rows in (("All_Beauty", reviews), ("meta_All_Beauty", meta)):
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (tmp_path / f"{name}.json.gz").write_bytes(gzip.compress(content))
    dataset = read(tmp_path, k_core=0)
    assert dataset.titles == ("B0", "Mild lotion")
    assert dataset.texts == ("Soft", "Mild lotion. Soft")
    assert "1 item without title: shown by id" in dataset.warnings


def test_an_image_is_no_attribute() -> None:
    found = item_text("Soap", {"brand": "Suds", "image": "https://shop.example/a.jpg"})
    assert (found.attributes, found.image) == ({"brand": ("Suds",)}, "https://shop.example/a.jpg")
