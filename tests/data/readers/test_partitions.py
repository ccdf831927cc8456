"""Logs that are read in partitions: the same data set as in memory, whatever is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from letterrec.data import Dataset, read
from letterrec.data.readers import partitions
from letterrec.errors import DataError


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions of some hundred rows."""
    monkeypatch.setattr(partitions, "_ROWS", 300)


def log(n: int = 3000, **columns: Any) -> pl.DataFrame:
    """Interactions of 120 users with 60 items in no order, some of them twice."""
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user": [f"u{u}" for u in random.integers(120, size=n)],
            "item": [f"i{i}" for i in (random.beta(0.7, 3, size=n) * 60).astype(int)],
            "timestamp": 1_700_000_000 + random.integers(400, size=n),
        }
    ).with_columns(**columns)
    return pl.concat([frame, frame.sample(50, seed=1)])


def both(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Dataset, Dataset]:
    """What is read in memory, and in partitions."""
    whole = read(folder, **options)
    monkeypatch.setattr(partitions, "LARGE", {"parquet": 0, "csv": 0})
    return whole, read(folder, **options)


def assert_same(one: Dataset, other: Dataset) -> None:
    assert other.fingerprint == one.fingerprint
    assert other.warnings == one.warnings
    assert (other.titles, other.texts) == (one.titles, one.texts)
    assert (one.times is None) == (other.times is None)
    if one.times is not None and other.times is not None:
        np.testing.assert_allclose(other.times, one.times)


MESSY = {
    "of text": {},
    "of whole numbers": {
        "user": pl.col("user").str.slice(1).cast(pl.Int64),
        "item": pl.col("item").str.slice(1).cast(pl.Int32),
    },
    "ids as floats, with spaces and missing": {
        "user": pl.when(pl.int_range(pl.len()) % 7 == 0)
        .then(pl.col("user").str.slice(1) + ".0")
        .when(pl.int_range(pl.len()) % 11 == 0)
        .then(pl.lit("NaN"))
        .otherwise(" " + pl.col("user").str.slice(1)),
        "item": pl.when(pl.int_range(pl.len()) % 97 == 0).then(None).otherwise(pl.col("item")),
    },
    "hashes of 64 bits": {"user": pl.col("user").str.slice(1).cast(pl.UInt64) + 2**63},
    "other white space around ids": {
        "user": pl.when(pl.int_range(pl.len()) % 3 == 0)
        .then(pl.col("user") + "\x1f")
        .otherwise(pl.col("user"))
    },
    "milliseconds, and zeros": {
        "timestamp": pl.when(pl.int_range(pl.len()) % 50 == 0)
        .then(0)
        .otherwise(pl.col("timestamp") * 1000)
    },
    "dates": {"timestamp": pl.from_epoch("timestamp")},
    "times as text, some of them none": {
        "timestamp": pl.when(pl.int_range(pl.len()) % 60 == 9)
        .then(pl.lit("soon"))
        .otherwise(pl.col("timestamp").cast(pl.String))
    },
}


@pytest.mark.parametrize("name", MESSY)
def test_partitions_give_the_data_set_of_memory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(**MESSY[name]).write_parquet(tmp_path / "interactions.parquet")
    whole, parted = both(tmp_path, monkeypatch)
    assert whole.n_users > 50
    assert any("5-core" in note for note in whole.warnings)
    assert_same(whole, parted)
    assert isinstance(parted.interactions.items, np.memmap)
    assert isinstance(parted.times, np.memmap)


@pytest.mark.parametrize(
    "options", [{"order": "rows"}, {"min_rating": 3.0}, {"k_core": 0}, {"k_core": 12}]
)
def test_options_mean_the_same(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(rating=pl.int_range(pl.len()) % 6).write_csv(tmp_path / "interactions.csv")
    items = pl.DataFrame({"item": [f"i{i}" for i in range(70)]})
    items.with_columns(title="about " + pl.col("item")).write_csv(tmp_path / "items.csv")
    assert_same(*both(tmp_path, monkeypatch, **options))


def test_a_folder_partitioned_by_a_key_is_a_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "interactions.parquet"
    rows = log().with_columns(day=pl.col("timestamp") % 5)
    rows.lazy().sink_parquet(pl.PartitionBy(folder, key="day", include_key=False), mkdir=True)
    assert len(list(folder.rglob("*.parquet"))) == 5
    assert_same(*both(tmp_path, monkeypatch))


def test_parts_as_they_grow_in_years_are_a_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = log().with_columns(user=pl.col("user").str.slice(1).cast(pl.Int64))
    rows.write_parquet(tmp_path / "one.parquet")
    one = read(tmp_path / "one.parquet")
    folder = tmp_path / "interactions.parquet"
    grown = {  # the type of a column, a column, a level of folders
        "day=1": rows[:1000].with_columns(user=pl.col("user").cast(pl.Int32)),
        "day=2": rows[1000:2000].with_columns(device=pl.lit("phone")),
        "day=3/hour=4": rows[2000:],
        "day=__HIVE_DEFAULT_PARTITION__": rows[:0],
    }
    for name, part in grown.items():
        (folder / name).mkdir(parents=True)
        part.write_parquet(folder / name / "0.parquet")
    (folder / "_delta_log").mkdir()
    rows.write_parquet(folder / "_delta_log" / "1.checkpoint.parquet")
    (folder / "README.md").write_text("a log")
    whole, parted = both(tmp_path, monkeypatch)
    assert_same(whole, parted)
    assert whole.fingerprint == one.fingerprint


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": pl.lit("")}, "every row lacks a user or an item"),
        ({"timestamp": pl.lit("soon")}, "row 1 has time 'soon'; expected seconds"),
        ({"timestamp": pl.lit(20180731)}, "look like dates written as numbers"),
        ({"user": pl.int_range(pl.len())}, "none is left with 5 interactions per user and item"),
        ({"user": pl.lit("1e+20")}, "may have lost digits"),
        ({"user": pl.lit(True)}, r"interactions\.parquet: user ids are Boolean"),
        (
            {"timestamp": pl.col("timestamp") * (1 + 999 * (pl.int_range(pl.len()) % 2))},
            "times are in different units",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_alike(
    columns: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(**columns).write_parquet(tmp_path / "interactions.parquet")
    with pytest.raises(DataError, match=message):
        read(tmp_path)
    monkeypatch.setattr(partitions, "LARGE", {"parquet": 0})
    with pytest.raises(DataError, match=message):
        read(tmp_path)
