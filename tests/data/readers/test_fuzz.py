"""One table in three file types: the same data set, or the same refusal."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from letterrec.data import read
from letterrec.data.ids import as_id
from letterrec.errors import DataError

EXAMPLES = int(os.environ.get("LETTERREC_FUZZ", "80"))
Column = pl.Series
Outcome = tuple[Any, ...]

# how a refusal says its reason; whatever else it says differs between file types
REASONS = (
    "every row lacks",
    "has time",
    "different units",
    "look like dates",
    "lost digits",
    "none of its",
    "holds no interactions",
    "none is left",
)
SPOTS = "αß漢🙂é\u00a0\u2003'\"\\,;\t|\n#<>&[]{}%0 "
WORDS = st.text(st.sampled_from("abAB01" + SPOTS), max_size=6)
TEXT_IDS = st.one_of(
    st.sampled_from(
        ["1", "2", "01", "1.0", "2.00", " 1", "1 ", "a", "A", "7.5", "1e5", "-3", "+3"]
    ),
    st.sampled_from(["", " ", "nan", "NaN", "NULL", "None", "<NA>", "true", "null"]),
    st.sampled_from(["9007199254740993", "9007199254740993.0", "1e+16", "1.5E17", "007.0"]),
    WORDS,
)
INTEGER_IDS = st.one_of(st.integers(-3, 6), st.sampled_from([2**53 + 1, 2**62 + 1, 0]))
FLOAT_IDS = st.one_of(
    st.integers(-3, 6).map(float),
    st.sampled_from([math.nan, 1.5, -0.0, 2.0**53, 1e16, 123456789012.0]),
)
ID_COLUMNS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "text": (TEXT_IDS, pl.String),
    "categories": (TEXT_IDS, pl.Categorical),
    "integers": (INTEGER_IDS, pl.Int64),
    "small integers": (st.integers(0, 6), pl.UInt8),
    "floats": (FLOAT_IDS, pl.Float64),
}
SECONDS = st.integers(1_500_000_000, 1_500_000_003)
MOMENTS = SECONDS.map(lambda s: datetime.fromtimestamp(s, UTC).replace(tzinfo=None))
TIME_COLUMNS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "seconds": (st.one_of(SECONDS, st.sampled_from([-1, 0])), pl.Int64),
    "few seconds": (st.integers(0, 5), pl.Int32),
    "fractions": (st.one_of(SECONDS.map(lambda s: s + 0.25), st.just(math.nan)), pl.Float64),
    "milliseconds": (st.one_of(SECONDS.map(lambda s: s * 1000), st.just(0)), pl.Int64),
    "nanoseconds": (SECONDS.map(lambda s: 10**18 + s), pl.Int64),
    "dates as numbers": (st.sampled_from([20180731, 20180801, 31072018]), pl.Int64),
    "moments": (MOMENTS, pl.Datetime("us")),
    "moments of a zone": (MOMENTS, pl.Datetime("ms", "UTC")),
    "days": (st.sampled_from([date(2018, 7, 30), date(2018, 7, 31)]), pl.Date),
    "text": (
        st.sampled_from(
            [
                "2018-07-31 22:39:54+00",
                "2018-07-31T22:39:54,5Z",
                "20180731T223953Z",
                "2018-W31-2",
                "1533076793",
                "1533076793.5",
                "yesterday",
                "",
                " 2018-07-31 ",
            ]
        ),
        pl.String,
    ),
}
FURTHER: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "brand": (WORDS, pl.String),
    "kind": (st.sampled_from(["x", "y", "", "1.5", "True", "nan"]), pl.Categorical),
    "year": (st.integers(1990, 1992), pl.Int64),
    "stock": (st.integers(-5, 5), pl.Int32),
    "cost": (st.floats(width=32), pl.Float64),
    "is_new": (st.booleans(), pl.Boolean),
    "since": (MOMENTS, pl.Datetime("us")),
    "day": (st.just(date(2018, 7, 31)), pl.Date),
}
TITLES: list[tuple[st.SearchStrategy[Any], Any]] = [
    (WORDS, pl.String),
    (st.sampled_from(["1984", "nan", "<b>x</b>", "A & B", "a &amp; b"]), pl.String),
    (st.integers(1900, 2000), pl.Int64),
    (st.sampled_from([1984.0, 3.5, math.nan]), pl.Float64),
]


@st.composite
def column(draw: st.DrawFn, kind: tuple[st.SearchStrategy[Any], Any], n: int) -> Column:
    values, dtype = kind
    nullable = draw(st.booleans())
    cells = st.one_of(values, values, values, st.none()) if nullable else values
    found = draw(st.lists(cells, min_size=n, max_size=n))
    if dtype == pl.Categorical:
        return pl.Series(found, dtype=pl.String).cast(dtype)
    return pl.Series(found, dtype=dtype)


@st.composite
def tables(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """A log, and items beside it or not."""
    n = draw(st.integers(1, 14))
    ids = st.sampled_from(sorted(ID_COLUMNS))
    log = {name: draw(column(ID_COLUMNS[draw(ids)], n)) for name in ("user", "item")}
    log["timestamp"] = draw(column(TIME_COLUMNS[draw(st.sampled_from(sorted(TIME_COLUMNS)))], n))
    if draw(st.booleans()):
        log["rating"] = draw(column((st.floats(0, 5), pl.Float64), n))
    if draw(st.integers(0, 2)) == 0:
        return pl.DataFrame(log), None
    n = draw(st.integers(1, 9))
    items = {
        "item": draw(column(ID_COLUMNS[draw(ids)], n)),
        "title": draw(column(draw(st.sampled_from(TITLES)), n)),
    }
    for name in draw(st.lists(st.sampled_from(sorted(FURTHER)), unique=True, max_size=4)):
        items[name] = draw(column(FURTHER[name], n))
    return pl.DataFrame(log), pl.DataFrame(items)


def write_lines(frame: pl.DataFrame, path: Path) -> None:
    """As Python writes JSON: with NaN, and a number as it is."""

    def plain(value: Any) -> Any:
        return value.isoformat() if isinstance(value, date) else value

    rows = ({k: plain(v) for k, v in row.items()} for row in frame.iter_rows(named=True))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


WRITERS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "csv": pl.DataFrame.write_csv,
    "parquet": pl.DataFrame.write_parquet,
    "jsonl": pl.DataFrame.write_ndjson,
    "lines of Python": write_lines,
}


def outcome(log: pl.DataFrame, items: pl.DataFrame | None, kind: str) -> Outcome:
    """What `read` makes of the tables in files of a kind."""
    suffix = "jsonl" if kind == "lines of Python" else kind
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        WRITERS[kind](log, folder / f"interactions.{suffix}")
        if items is not None:
            WRITERS[kind](items, folder / f"items.{suffix}")
        try:
            dataset = read(folder, k_core=0)
        except DataError as error:
            message = str(error)
            assert "\n" not in message
            reasons = [r for r in REASONS if r in message]
            assert reasons, message
            return DataError, reasons[0]
    sequences = [[dataset.item_ids[i] for i in s] for s in dataset.interactions]
    dropped = sorted(
        re.sub(r" \(row .*\)| of items\.\w+", "", w) for w in dataset.warnings if "dropped" in w
    )
    users = dict(zip(dataset.user_ids, sequences, strict=True))
    titles = dict(zip(dataset.item_ids, dataset.titles, strict=True))
    return users, titles, dataset.texts, dropped


@pytest.mark.slow
@settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(tables())
def test_file_types_agree(both: tuple[pl.DataFrame, pl.DataFrame | None]) -> None:
    log, items = both
    note(f"{log.schema}, {log.rows()}, {items is not None and (items.schema, items.rows())}")
    first, *others = (outcome(log, items, kind) for kind in WRITERS)
    for kind, other in zip(list(WRITERS)[1:], others, strict=True):
        assert other == first, f"csv and {kind}"
    if first[0] is DataError:
        return
    known = {i for i in map(safe_id, log["item"]) if i}
    assert first[1].keys() <= known
    assert first[0].keys() <= {u for u in map(safe_id, log["user"]) if u}
    if items is not None:  # no title is lost for the form of an id
        titled: dict[str, Any] = {}
        for item, title in items.select("item", "title").iter_rows():
            titled.setdefault(safe_id(item) or "", title)
        for item, title in first[1].items():
            if isinstance(titled.get(item), int):
                assert title == str(titled[item])


def safe_id(value: Any) -> str | None:
    try:
        return as_id(value)
    except ValueError:
        return None
