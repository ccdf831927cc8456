"""A DataFrame gives what the files of the same tables give."""

from __future__ import annotations

import datetime
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

import letterrec
from letterrec.data import Dataset, read
from letterrec.errors import DataError

N_USERS, N_ITEMS = 12, 8
ROWS = [(f"u{u}", i, 1000 + 10 * u + i) for u in range(N_USERS) for i in range(N_ITEMS)]
LOG = pl.DataFrame(ROWS, schema=["user", "item", "timestamp"], orient="row")
ITEMS = pl.DataFrame(
    {
        "item": list(range(N_ITEMS)),
        "title": [f"Lamp {i}" for i in range(N_ITEMS)],
        "category": ["Home > Lamps"] * N_ITEMS,
    }
)


def to_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(frame.to_dict(as_series=False))


def same(one: Dataset, other: Dataset) -> bool:
    fields = ("fingerprint", "side_fingerprints", "categories")
    return all(getattr(one, f) == getattr(other, f) for f in fields)


@pytest.fixture
def from_files(tmp_path: Path) -> Dataset:
    LOG.write_parquet(tmp_path / "interactions.parquet")
    ITEMS.write_parquet(tmp_path / "items.parquet")
    return read(tmp_path)


def test_a_frame_of_polars_or_pandas_is_read_as_the_file_is(from_files: Dataset) -> None:
    for log, items in (
        (LOG, ITEMS),
        (LOG.lazy(), ITEMS.lazy()),
        (to_pandas(LOG), to_pandas(ITEMS)),
        (to_pandas(LOG), ITEMS),
    ):
        assert same(read(log, items=items), from_files)


def test_columns_of_other_names_missing_cells_and_dates(from_files: Dataset) -> None:
    renamed = to_pandas(LOG).rename(columns={"user": "who", "item": "what", "timestamp": "when"})
    renamed["when"] = pd.to_datetime(renamed["when"], unit="s", utc=True)
    renamed["what"] = renamed["what"].astype("Int64")
    broken = pd.DataFrame(
        {"who": [None, "u1"], "what": [1, None], "when": [renamed["when"][0]] * 2}
    )
    frame = pd.concat([renamed, broken], ignore_index=True)
    columns = {"user": "who", "item": "what", "timestamp": "when"}
    found = read(frame, items=ITEMS, columns=columns)
    assert found.fingerprint == from_files.fingerprint
    assert any("2 interactions without user or item" in note for note in found.warnings)


def test_a_column_of_several_types_is_read_as_text() -> None:
    mixed = to_pandas(LOG)
    mixed["item"] = pd.Series([i if i % 2 else f"item-{i}" for i in mixed["item"]], dtype=object)
    assert {"1", "item-2"} <= set(read(mixed).item_ids)


def test_titles_in_the_log(from_files: Dataset) -> None:
    joined = LOG.join(ITEMS.select("item", name="title"), on="item")
    assert read(joined, columns={"title": "name"}).titles == from_files.titles


@pytest.mark.parametrize(
    ("log", "items", "words"),
    [
        (LOG.drop("item"), None, "item"),
        (LOG, "items.csv", "items; a str came"),
        ("folder", ITEMS, "items goes with a log that is a DataFrame"),
        (7, None, "source is a int"),
        (pd.DataFrame([[1, 2]], columns=["user", "user"]), None, "two columns 'user'"),
    ],
)
def test_what_is_no_log_is_refused(log: object, items: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(log, items=items)  # type: ignore[arg-type]


def test_dates_of_python_are_times() -> None:
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    dated = LOG.with_columns(
        timestamp=pl.Series([start + datetime.timedelta(seconds=t) for _, _, t in ROWS])
    )
    assert read(dated).fingerprint == read(LOG).fingerprint


@pytest.mark.slow
def test_fit_takes_frames_and_the_names_of_their_columns(
    tmp_path: Path, from_files: Dataset
) -> None:
    log = to_pandas(LOG).rename(columns={"user": "who"})
    run = letterrec.fit(
        log,
        tmp_path / "run",
        {"data.columns": {"user": "who"}},
        items=to_pandas(ITEMS),
        recipe="popularity",
        progress=False,
    )
    assert same(run.dataset(), from_files)
    newer = letterrec.refit(
        run, tmp_path / "newer", data=log, items=to_pandas(ITEMS), progress=False
    )
    assert newer.dataset().n_interactions == len(ROWS)
