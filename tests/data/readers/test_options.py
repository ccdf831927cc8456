"""What a caller may say about a source: columns, ratings, the order of the rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from letterrec.config.loading import load_settings, parse_settings
from letterrec.data import Dataset, read
from letterrec.data.readers.columns import KNOWN, candidates_for, find_columns
from letterrec.errors import DataError, SettingsError

SequencesOf = Callable[[Dataset], dict[str, list[str]]]
LOG = {
    "who": ["al", "al", "al", "bo", "bo"],
    "what": ["a", "b", "c", "a", "b"],
    "when": [3, 1, 2, 5, 4],
    "stars": ["5", "4.5", "", "2", "1"],
    "called": ["A", "B", "C", "A", "B"],
}
TOLD = {"user": "who", "item": "what", "timestamp": "when"}


def write_as(folder: Path, kind: str) -> Path:
    frame = pl.DataFrame(LOG)
    path = folder / f"log.{kind}"
    if kind == "csv":
        frame.write_csv(path)
    elif kind == "parquet":
        frame.write_parquet(path)
    else:
        frame.write_ndjson(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_columns(tmp_path: Path, kind: str, sequences_of: SequencesOf) -> None:
    dataset = read(write_as(tmp_path, kind), k_core=0, columns=TOLD | {"title": "called"})
    assert sequences_of(dataset) == {"al": ["b", "c", "a"], "bo": ["b", "a"]}
    assert dataset.titles == ("A", "B", "C")


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_ratings(tmp_path: Path, kind: str, sequences_of: SequencesOf) -> None:
    path = write_as(tmp_path, kind)
    dataset = read(path, k_core=0, columns=TOLD, min_rating=2)
    assert sequences_of(dataset) == {"al": ["b", "a"], "bo": ["a"]}
    assert "1 interaction rated below 2: dropped" in dataset.warnings
    assert "1 interaction without a rating: dropped" in dataset.warnings
    with pytest.raises(DataError, match="no rating in 'stars' is 6 or more, the highest is 5; low"):
        read(path, columns=TOLD, min_rating=6)
    with pytest.raises(DataError, match="column 'called' has no number in any row"):
        read(path, columns=TOLD | {"rating": "called"}, min_rating=1)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("min_rating", [None, 2])
def test_the_order_of_the_rows(
    tmp_path: Path, kind: str, min_rating: float | None, sequences_of: SequencesOf
) -> None:
    path = write_as(tmp_path, kind)
    columns = {"user": "who", "item": "what"}
    dataset = read(path, k_core=0, columns=columns, order="rows", min_rating=min_rating)
    everything = {"al": ["a", "b", "c"], "bo": ["a", "b"]}
    liked = {"al": ["a", "b"], "bo": ["a"]}
    assert sequences_of(dataset) == (everything if min_rating is None else liked)
    assert "the order of the rows is taken for the order in time (data.order=rows)" in (
        dataset.warnings
    )


def test_the_order_of_the_rows_goes_on_over_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sequences_of: SequencesOf
) -> None:
    monkeypatch.setattr("letterrec.data.readers.jsonlines._BLOCK", 50)
    path = tmp_path / "log.jsonl"
    rows = [{"user": "u", "item": f"i{n}", "rating": n} for n in reversed(range(30))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for least, n in ((None, 30), (20, 10)):
        dataset = read(path, k_core=0, order="rows", min_rating=least)
        assert sequences_of(dataset)["u"] == [f"i{i}" for i in reversed(range(30))][:n]


def test_without_ratings(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,timestamp\nu,a,1\n")
    expected = "has no column 'rating', only user, .*; or leave out data.min_rating"
    with pytest.raises(DataError, match=expected):
        read(path, min_rating=3)
    (tmp_path / "A.inter.json").write_text('{"u": [1]}')
    with pytest.raises(DataError, match=r"which has no ratings: leave out data\.min"):
        read(tmp_path / "A.inter.json", min_rating=3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"columns": {"usr": "x"}}, "columns names 'usr'; expected some of user, item, timestamp"),
        (
            {"columns": {"user": "x"}},
            "has no column 'x', which was given for 'user', only who",
        ),
        (
            {"columns": TOLD | {"title": "x"}},
            "has no column 'x', which was given for 'title'",
        ),
        ({"order": "sideways"}, "order is 'sideways'; expected 'time' or 'rows'"),
        ({"min_rating": float("nan")}, "min_rating is nan; expected a finite number"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read(write_as(tmp_path, "csv"), **options)


@pytest.mark.parametrize(
    "name",
    [
        *("movieId", "parent_asin", "asin", "article_id", "visitorid", "customer_id", "reviewerID"),
        *("product_id", "productid", "venueId", "business_id", "track_id", "artist_id", "book_id"),
        *("isbn", "itemid", "sessionId", "User-ID", "ISBN", "Book-Rating", "overall", "stars"),
        *("unixReviewTime", "t_dat", "prod_name", "Book-Title", "movie title", "StockCode"),
    ],
)
def test_common_names_are_known_and_of_one_role(name: str) -> None:
    assert sum(bool(candidates_for(role, [name], [])) for role in KNOWN) == 1  # type: ignore[arg-type]


def test_a_free_column_is_found_and_a_used_one_is_left() -> None:
    notes: list[str] = []
    found = find_columns(
        ["user_id", "product_id", "products", "timestamp"],
        ["user", "item", "timestamp"],
        where="x",
        told={},
        notes=notes,
        file="x",
    )
    assert found == {"user": "user_id", "item": "product_id", "timestamp": "timestamp"}
    assert notes == [
        "x: column 'user_id' is read as 'user'",
        "x: column 'product_id' is read as 'item'",
    ]


def test_atomic_files_with_other_names(tmp_path: Path) -> None:
    (tmp_path / "steam.inter").write_text(
        "user_id:token\tproducts:float\tproduct_id:token\ttimestamp:float\n1\t2\t14\t15\n"
    )
    (tmp_path / "steam.item").write_text("app_name:token\tid:token\nHalf-Life\t14\n")
    dataset = read(tmp_path, k_core=0)
    assert dataset.titles == ("Half-Life",)
    assert "steam.inter: column 'product_id' is read as 'item'" in dataset.warnings
    assert "steam.item: column 'id' is read as 'item'" in dataset.warnings


def test_the_settings_keep_them() -> None:
    settings = load_settings(overrides=["data.columns.user=who", "data.min_rating=3"])
    assert settings.data.columns == {"user": "who"}
    assert settings.data.reading() == {
        "k_core": None,
        "min_rating": 3.0,
        "grades": {},
        "order": "time",
        "columns": {"user": "who"},
    }
    import tomllib

    assert parse_settings(tomllib.loads(settings.to_toml())) == settings
    with pytest.raises(SettingsError, match=r"data\.columns\.usr"):
        load_settings(overrides=["data.columns.usr=who"])
    with pytest.raises(SettingsError, match=r"data\.order"):
        load_settings(overrides=["data.order=sideways"])
