from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from letterrec.data import Dataset, read


def review(user: str, business: str, date: str) -> dict[str, Any]:
    return {
        "review_id": "KU_O5udG6zpxOg-VcAEodg",
        "user_id": user,
        "business_id": business,
        "stars": 3.0,
        "useful": 0,
        "funny": 0,
        "cool": 0,
        "text": "If you decide to eat here,\nbe aware.",
        "date": date,
    }


REVIEWS = [
    review("mh_-eMZ6K5RLWhZyISBhwA", "XQfwVwDr", "2018-07-07 22:09:11"),
    review("mh_-eMZ6K5RLWhZyISBhwA", "7ATYjTIg", "2012-01-03 15:28:18"),
    review("OyoGAe7OKpv6SyGZT5g77Q", "7ATYjTIg", "2014-02-05 20:30:30"),
]
BUSINESSES = [
    {
        "business_id": "XQfwVwDr",
        "name": "Turning Point",
        "address": "1460 Bethlehem Pike",
        "city": "North Wales",
        "state": "PA",
        "stars": 3.0,
        "attributes": None,
        "categories": "Restaurants, Breakfast & Brunch",
        "hours": None,
    },
    {"business_id": "7ATYjTIg", "name": "Cycle Gym", "city": "Ardmore", "categories": None},
    {"business_id": "Pns2l4eN", "name": "unseen", "city": "Goleta", "categories": None},
]


@pytest.mark.parametrize("source", ["folder", "file"])
def test_the_open_dataset(
    tmp_path: Path,
    write_lines: Callable[[Path, Iterable[Any]], Path],
    sequences_of: Callable[[Dataset], dict[str, list[str]]],
    source: str,
) -> None:
    file = write_lines(tmp_path / "yelp_academic_dataset_review.json", REVIEWS)
    write_lines(tmp_path / "yelp_academic_dataset_business.json", BUSINESSES)
    tip = {"user_id": "u", "business_id": "b", "text": "t", "date": "2012-05-18 02:17:21"}
    write_lines(tmp_path / "yelp_academic_dataset_tip.json", [{**tip, "compliment_count": 0}])
    dataset = read(tmp_path if source == "folder" else file, k_core=1)
    assert dataset.name == "Yelp"
    assert sequences_of(dataset) == {
        "OyoGAe7OKpv6SyGZT5g77Q": ["7ATYjTIg"],
        "mh_-eMZ6K5RLWhZyISBhwA": ["7ATYjTIg", "XQfwVwDr"],
    }
    assert dataset.titles == ("Cycle Gym", "Turning Point")
    assert dataset.texts == (
        "Cycle Gym. Ardmore",
        "Turning Point. Restaurants, Breakfast & Brunch. North Wales. PA",
    )
    assert "1 catalogue item without interactions: dropped" in dataset.warnings
