from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from letterrec.data import Dataset, read
from letterrec.data.readers.item_tables import read_items
from letterrec.data.text import ItemText

EVENTS = pl.DataFrame(
    {
        "user": ["bo", "al", "bo", "al", "bo", "al"],
        "item": ["007", "8", "8", "007", "9", "9"],
        "timestamp": [1_500_000_003, 5, 1_500_000_001, 1_500_000_002, 1_500_000_002, 7],
    }
)
ITEMS = pl.DataFrame(
    {
        "item": ["8", "007", "77"],
        "title": ["Eight", 'The "seven"', "never bought"],
        "maker": ["Figures, Ltd", None, None],
        "price": [1.5, 2.5, 3.5],
    }
)


def write(frame: pl.DataFrame, path: Path) -> None:
    kind: dict[str, Callable[[Path], Any]] = {
        ".csv": frame.write_csv,
        ".parquet": frame.write_parquet,
        ".jsonl": frame.write_ndjson,
    }
    kind[path.suffix](path)


@pytest.mark.parametrize("items_kind", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_every_file_type_gives_the_same(
    tmp_path: Path,
    kind: str,
    items_kind: str,
    sequences_of: Callable[[Dataset], dict[str, list[str]]],
) -> None:
    write(EVENTS, tmp_path / f"interactions.{kind}")
    items = ITEMS if items_kind != "csv" else ITEMS.drop("price")  # all columns of a CSV are text
    write(items, tmp_path / f"items.{items_kind}")
    dataset = read(tmp_path, k_core=0)
    assert dataset.name == tmp_path.name
    assert dataset.item_ids == ("007", "8", "9")
    assert sequences_of(dataset) == {"al": ["8", "9", "007"], "bo": ["8", "9", "007"]}
    assert dataset.titles == ('The "seven"', "Eight", "9")
    assert dataset.texts == ('The "seven"', "Eight. Figures, Ltd", "9")
    assert "1 catalogue item without interactions: dropped" in dataset.warnings


def test_five_is_the_default_core(tmp_path: Path) -> None:
    rows = [{"user": u, "item": i, "timestamp": i} for u in range(6) for i in range(5)]
    rows += [{"user": 0, "item": 99, "timestamp": 99}]
    write(pl.DataFrame(rows), tmp_path / "interactions.parquet")
    dataset = read(tmp_path)
    assert dataset.item_ids == ("0", "1", "2", "3", "4")
    assert "5-core: 0 users, 1 item and 1 interaction dropped" in dataset.warnings


def test_usual_other_names_are_read_and_reported(tmp_path: Path) -> None:
    write(
        EVENTS.rename({"user": "userId", "item": "item_id", "timestamp": "time"}),
        tmp_path / "interactions.csv",
    )
    dataset = read(tmp_path, k_core=0)
    assert dataset.n_interactions == 6
    assert dataset.warnings[:3] == (
        "interactions.csv: column 'userId' is read as 'user'",
        "interactions.csv: column 'item_id' is read as 'item'",
        "interactions.csv: column 'time' is read as 'timestamp'",
    )


def test_further_columns_do_not_hinder(tmp_path: Path) -> None:
    further = EVENTS.with_columns(rating=3.5, note=pl.lit("x"), user_id=pl.lit("other"))
    write(further, tmp_path / "interactions.parquet")
    assert read(tmp_path, k_core=0).user_ids == ("al", "bo")


def test_parquet_types(tmp_path: Path) -> None:
    frame = EVENTS.with_columns(
        pl.col("item").cast(pl.Categorical), timestamp=pl.lit(datetime(2018, 1, 2))
    )
    write(frame, tmp_path / "interactions.parquet")
    lists = ITEMS.with_columns(tags=pl.lit(["a", "b"])).cast({"item": pl.Categorical})
    write(lists, tmp_path / "items.parquet")
    dataset = read(tmp_path, k_core=0)
    assert dataset.texts == ('The "seven". a, b', "Eight. Figures, Ltd. a, b", "9")


@pytest.mark.parametrize("kind", [".csv", ".parquet", ".jsonl"])
def test_a_column_of_images_is_kept_where_a_page_may_show_them(tmp_path: Path, kind: str) -> None:
    events = {"user": ["u", "u", "u"], "item": ["a", "b", "c"], "timestamp": [1, 2, 3]}
    write(pl.DataFrame(events), tmp_path / "interactions.csv")
    images = ["https://shop.example/a.jpg?w=9", "javascript:alert(1)", "/img/c.png"]
    items = {"item": ["a", "b", "c"], "title": ["A", "B", "C"], "image": images}
    write(pl.DataFrame(items), tmp_path / f"items{kind}")
    dataset = read(tmp_path, k_core=0)
    assert dataset.images == ("https://shop.example/a.jpg?w=9", "", "/img/c.png")
    assert dataset.texts == ("A", "B", "C")


def test_integer_ids_match_between_tables(tmp_path: Path) -> None:
    rows = [{"user": 1, "item": 10, "timestamp": 1}, {"user": 1, "item": 9, "timestamp": 2}]
    write(pl.DataFrame(rows), tmp_path / "interactions.jsonl")
    write(pl.DataFrame({"item": [9, 10], "title": ["nine", "ten"]}), tmp_path / "items.parquet")
    assert read(tmp_path, k_core=0).titles == ("nine", "ten")


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_table_of_items_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"new.{kind}"
    write(ITEMS.drop("price"), path)
    assert read_items(path) == {
        "8": ItemText("Eight", "Eight. Figures, Ltd", attributes={"maker": ("Figures, Ltd",)}),
        "007": ItemText('The "seven"', 'The "seven"'),
        "77": ItemText("never bought", "never bought"),
    }


@pytest.mark.parametrize("kind", [".csv", ".parquet", ".jsonl"])
def test_what_users_like(tmp_path: Path, kind: str) -> None:
    write(EVENTS, tmp_path / "interactions.csv")
    likes = {"user_id": ["bo", "zoe"], "preference": ["even  numbers", "none"]}
    write(pl.DataFrame(likes), tmp_path / f"users{kind}")
    dataset = read(tmp_path, k_core=0)
    assert dataset.user_ids == ("al", "bo")
    assert dataset.preferences == ("", "even numbers")
    assert f"users{kind}: column 'user_id' is read as 'user'" in dataset.warnings
    (tmp_path / f"users{kind}").unlink()
    assert read(tmp_path, k_core=0).preferences is None
