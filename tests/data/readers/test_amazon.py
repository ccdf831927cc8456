from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from letterrec.data import Dataset, read
from letterrec.data.readers import jsonlines as jsonlines_module

WriteLines = Callable[[Path, Iterable[Any]], Path]


def review_2014(user: str, item: str, time: int) -> dict[str, Any]:
    return {
        "reviewerID": user,
        "asin": item,
        "reviewerName": "Jo",
        "helpful": [1, 2],
        "reviewText": 'Works — "as said"; it\'s fine.\n',
        "overall": 5.0,
        "summary": "Good",
        "unixReviewTime": time,
        "reviewTime": "01 30, 2014",
    }


def review_2018(user: str, item: str, time: int) -> dict[str, Any]:
    return {
        "overall": 5.0,
        "vote": "3",
        "verified": True,
        "reviewTime": "09 4, 2015",
        "reviewerID": user,
        "asin": item,
        "style": {"Size:": " 7.0 oz"},
        "reviewerName": "Jo",
        "reviewText": "nice",
        "summary": "five stars",
        "unixReviewTime": time,
    }


def review_2023(user: str, item: str, time: int) -> dict[str, Any]:
    return {
        "rating": 5.0,
        "title": "Such a lovely scent",
        "text": "but not overpowering",
        "images": [],
        "asin": "variant-of-" + item,
        "parent_asin": item,
        "user_id": user,
        "timestamp": time * 1000 + 609,
        "helpful_vote": 0,
        "verified_purchase": True,
    }


LOG = [
    ("A2", "B01", 1_400_000_000),
    ("A1", "B02", 1_300_000_000),
    ("A2", "B02", 1_390_000_000),
    ("A1", "B01", 1_300_000_000),
    ("A1", "B03", 1_200_000_000),
    ("A2", "B02", 1_390_000_000),
]
# As they are in the wild: Python literals in 2014, JSON afterwards.
META_2014 = [
    "{'asin': 'B01', 'title': \"Jo's soap\", 'brand': 'Suds', 'price': 3.5, "
    "'related': {'also_bought': ['B02', 'B09']}, 'salesRank': {'Beauty': 9}, "
    "'categories': [['Beauty', 'Bath'], ['Beauty', 'Soap']], 'imUrl': 'http://x/y.jpg'}",
    "{'asin': 'B02', 'categories': [['Beauty']], 'description': 'Soft &amp; warm.'}",
    "{'asin': 'B09', 'title': 'unseen'}",
]
META_2018 = [
    {
        "category": ["Beauty", "Bath"],
        "tech1": "",
        "description": ["For hands.", ""],
        "title": "Jo's soap",
        "also_buy": ["B02"],
        "brand": "Suds",
        "feature": ["Mild"],
        "rank": "2,938 in Beauty",
        "asin": "B01",
    },
    {"category": ["Beauty"], "title": "Brush", "brand": "", "asin": "B02"},
    {"category": ["Beauty"], "title": "Brush, again", "brand": "", "asin": "B02"},
    {"title": "unseen", "asin": "B09"},
]
META_2023 = [
    {
        "main_category": "All Beauty",
        "title": "Jo's soap",
        "average_rating": 4.8,
        "features": ["Mild"],
        "description": ["For hands."],
        "price": None,
        "images": [{"thumb": "http://x"}],
        "store": "Suds",
        "categories": ["Beauty", "Bath"],
        "details": {"Brand": "Suds"},
        "parent_asin": "B01",
        "bought_together": None,
    },
    {"main_category": "All Beauty", "title": "Brush", "store": None, "parent_asin": "B02"},
    {"title": "unseen", "parent_asin": "B09"},
]


@pytest.mark.parametrize(
    ("review", "reviews_name", "meta_name", "meta", "texts"),
    [
        (
            review_2014,
            "reviews_Beauty_5.json.gz",
            "meta_Beauty.json.gz",
            META_2014,
            ("Jo's soap. Suds. Beauty, Bath, Soap", "Beauty. Soft & warm.", "B03"),
        ),
        (
            review_2018,
            "Beauty_5.json",
            "meta_Beauty.json.gz",
            META_2018,
            ("Jo's soap. Suds. Beauty, Bath. Mild. For hands.", "Brush. Beauty", "B03"),
        ),
        (
            review_2023,
            "Beauty.jsonl.gz",
            "meta_Beauty.jsonl",
            META_2023,
            ("Jo's soap. Suds. Beauty, Bath. Mild. For hands.", "Brush", "B03"),
        ),
    ],
    ids=["2014", "2018", "2023"],
)
@pytest.mark.parametrize("source", ["folder", "file"])
def test_reviews_with_metadata(
    tmp_path: Path,
    write_lines: WriteLines,
    sequences_of: Callable[[Dataset], dict[str, list[str]]],
    source: str,
    review: Callable[[str, str, int], dict[str, Any]],
    reviews_name: str,
    meta_name: str,
    meta: list[Any],
    texts: tuple[str, ...],
) -> None:
    file = write_lines(tmp_path / reviews_name, [review(*row) for row in LOG])
    write_lines(tmp_path / meta_name, meta)
    dataset = read(tmp_path if source == "folder" else file, k_core=1)
    assert dataset.name == "Beauty"
    assert dataset.item_ids == ("B01", "B02", "B03")
    assert sequences_of(dataset) == {"A1": ["B03", "B02", "B01"], "A2": ["B02", "B01"]}
    assert dataset.texts == texts
    assert dataset.titles[0] == "Jo's soap"
    assert dataset.categories is not None
    assert dataset.categories[0] == ("Beauty", "Bath")
    assert "1 duplicate interaction (same user, item and time): dropped" in dataset.warnings
    assert "1 catalogue item without interactions: dropped" in dataset.warnings


def test_without_metadata(tmp_path: Path, write_lines: WriteLines) -> None:
    write_lines(tmp_path / "Beauty.jsonl", [review_2023(*row) for row in LOG])
    dataset = read(tmp_path, k_core=1)
    assert dataset.texts is None
    assert "no metadata file meta_Beauty.json(l)(.gz)" in dataset.warnings


def test_a_file_of_many_blocks_is_read_in_order(
    tmp_path: Path, write_lines: WriteLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(f"A{n % 7}", f"B{n % 11}", 1_400_000_000) for n in range(70)]
    file = write_lines(tmp_path / "Beauty.json.gz", [review_2018(*row) for row in rows])
    whole = read(file, k_core=1)
    monkeypatch.setattr(jsonlines_module, "_BLOCK", 1000)  # a few lines
    in_blocks = read(file, k_core=1)
    assert in_blocks.fingerprint == whole.fingerprint
    assert [whole.item_ids[i] for i in whole.interactions[0]] == [
        f"B{n % 11}" for n in range(0, 70, 7)
    ]


def test_reviews_that_only_python_reads(tmp_path: Path, write_lines: WriteLines) -> None:
    literal = [str(review_2014(*row)) for row in LOG]
    dataset = read(write_lines(tmp_path / "reviews_Beauty.json", literal), k_core=1)
    assert dataset.n_interactions == 5


def test_category_paths_of_mixed_forms(tmp_path: Path, write_lines: WriteLines) -> None:
    reviews = [review_2014("A1", "B1", 1_400_000_000 + i) for i in range(3)]
    write_lines(tmp_path / "Beauty_5.json", reviews)
    write_lines(
        tmp_path / "meta_Beauty.json",
        [{"asin": "B1", "title": "Soap", "categories": [["Beauty", "Hands"], "Bath", None]}],
    )
    assert read(tmp_path, k_core=0).texts == ("Soap. Beauty, Hands, Bath",)
