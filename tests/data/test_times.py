"""Every way to write a time, and what is no time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from letterrec.data import Dataset, read
from letterrec.data.times import numbers
from letterrec.errors import DataError

MOMENT = 1_500_935_994  # 2017-07-24 22:39:54 UTC, a Monday of week 30, day 205


def read_as(values: list[Any], dtype: Any = pl.String) -> list[float | None]:
    frame = pl.LazyFrame({"time": pl.Series(values, dtype=dtype)})
    return frame.select(numbers(frame, "log")).collect()["time"].to_list()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1500935994", 0),
        (" 1500935994 ", 0),
        ("1500935994.5", 0.5),
        ("1.500935994e9", 0),
        ("2017-07-24 22:39:54+00", 0),
        ("2017-07-24 22:39:54.25+00", 0.25),
        ("2017-07-24T22:39:54Z", 0),
        ("2017-07-24T22:39:54z", 0),
        ("2017-07-24 22:39:54 UTC", 0),
        ("2017-07-24 22:39:54", 0),
        ("2017-07-24T22:39:54,5", 0.5),
        ("2017-07-24T22:39:54.123456789Z", 0.123456),
        ("2017-07-25T00:39:54+02:00", 0),
        ("2017-07-25 00:39:54 +0200", 0),
        ("2017-07-24T17:09:54-05:30", 0),
        ("20170724T223954Z", 0),
        ("20170725T003954+0200", 0),
        ("2017-07-24T22:39", -54),
        ("2017-07-24T22", -54 - 39 * 60),
        ("2017-07-24", -81_594),
        ("2017-07-23T24:00:00", -81_594),
        ("2017-W30-1", -81_594),
        ("2017W301T223954Z", 0),
        ("2017-205T22:39:54", 0),
        ("Mon Jul 24 22:39:54 +0000 2017", 0),
        ("Mon Jul 24 15:39:54 -0700 2017", 0),
    ],
)
def test_forms_of_text(text: str, seconds: float) -> None:
    assert read_as([text]) == [pytest.approx(MOMENT + seconds, abs=1e-6)]


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "yesterday", "2018-02-30", "2018-13-01", "2018-07-31T25:00", "31/07/2018"),
        *("2018-07", "0001-01-01T00:00:00", "2218-01-01", "-62135596800", "nan", "inf"),
        *("2018-07-31T22:60:00", "2018-07-31T24:00:01", "2018-366", "2018-W54-1"),
    ],
)
def test_what_is_no_time(text: str) -> None:
    assert read_as([text]) == [None]


OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1), timezones=OFFSETS)


@settings(deadline=None, max_examples=100)
@given(st.lists(MOMENTS, min_size=1, max_size=5))
def test_what_python_writes_is_read(moments: list[datetime]) -> None:
    expected = [pytest.approx(m.timestamp(), abs=2e-6) for m in moments]
    assert read_as([m.isoformat() for m in moments]) == expected
    assert read_as([m.isoformat(" ").replace(".", ",") for m in moments]) == expected
    basic = [m.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ") for m in moments]
    assert read_as(basic) == expected


def test_columns_of_other_types() -> None:
    assert read_as([1, None, -1], pl.Int32) == [1, None, None]
    assert read_as([1.5, float("nan"), float("inf")], pl.Float64) == [1.5, None, None]
    assert read_as([10**18 + 1], pl.UInt64) == [10**18 + 1]
    assert read_as([str(10**18 + 1)]) == [10**18 + 1]  # text is as exact
    moment = datetime(2017, 7, 24, 22, 39, 54)
    for dtype in (pl.Datetime("ms"), pl.Datetime("ns", "UTC")):
        assert read_as([moment], dtype) == [MOMENT]


def csv_of(folder: Path, times: list[Any]) -> Dataset:
    rows = [f"u,i{row % 4},{time}" for row, time in enumerate(times)]
    (folder / "interactions.csv").write_text("\n".join(["user,item,timestamp", *rows]) + "\n")
    return read(folder, k_core=0)


def test_a_column_of_several_forms(tmp_path: Path) -> None:
    """The first thousand rows are numbers: a later text is read all the same."""
    times = [*range(MOMENT, MOMENT + 1200), "2017-07-24T23:59:59Z", MOMENT + 5000]
    dataset = csv_of(tmp_path, times)
    assert dataset.n_interactions == 1202
    assert dataset.interactions[0][-2:].tolist() == [0, 1]


@pytest.mark.parametrize("time", [-62_135_596_800, "yesterday", "", "2218-01-01"])
def test_rows_without_a_time_are_dropped_and_counted(tmp_path: Path, time: Any) -> None:
    dataset = csv_of(tmp_path, [*range(MOMENT, MOMENT + 19), time])
    assert dataset.n_interactions == 19
    shown = repr(str(time)) if time != "" else "None"
    assert f"1 interaction without a time (row 20 has time {shown}): dropped" in dataset.warnings


def test_a_zero_beside_milliseconds_is_no_time(tmp_path: Path) -> None:
    dataset = csv_of(tmp_path, [1000 * (MOMENT + s) for s in range(19)] + [0])
    assert "1 interaction without a time (row 20 has time 0): dropped" in dataset.warnings


def test_a_column_with_few_times_is_refused(tmp_path: Path) -> None:
    expected = r"interactions.csv: row 8 has time 'x'; expected seconds .* \(3 of 10 rows have none"
    with pytest.raises(DataError, match=expected):
        csv_of(tmp_path, [*range(MOMENT, MOMENT + 7), "x", "y", -5])


@pytest.mark.parametrize(
    "times",
    [
        [20180731, 20180801],
        [31072018, 1082018],
        [7312018, 12312018],
        [2018073122, 2018080103],
        [201807312239, 201808010001],
        [20180731223954, 20180801000000],
        [20180731223954123, 20180801000000999],
        [140717, 150717, 311217],
        [170714, 170715, 171231],
        [10717, 20717, 110717],
    ],
)
def test_dates_written_as_numbers_are_no_seconds(tmp_path: Path, times: list[int]) -> None:
    expected = f"times such as {times[0]} look like dates written as numbers; expected seconds"
    with pytest.raises(DataError, match=expected):
        csv_of(tmp_path, times)


@pytest.mark.parametrize("times", [[1, 2, 3], [MOMENT, MOMENT + 1], [20180731, 12, 99]])
def test_numbers_that_are_no_dates_are_taken(tmp_path: Path, times: list[int]) -> None:
    assert csv_of(tmp_path, times).n_interactions == len(times)


def test_reviews_with_a_negative_time(tmp_path: Path) -> None:
    lines = [
        f'{{"user_id": "A{n % 3}", "parent_asin": "B{n % 5}", "timestamp": {1000 * (MOMENT + n)}}}'
        for n in range(30)
    ]
    lines.insert(7, '{"user_id": "A1", "parent_asin": "B1", "timestamp": -62135596800}')
    (tmp_path / "All_Beauty.jsonl").write_text("\n".join(lines) + "\n")
    dataset = read(tmp_path, k_core=0)
    assert dataset.n_interactions == 30
    expected = "1 interaction without a time (row 8 has time '-62135596800'): dropped"
    assert expected in dataset.warnings


def test_times_that_a_spreadsheet_rounded_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,timestamp\na,x,1.50000E+09\na,y,1.50001E+09\n")
    with pytest.raises(DataError, match=r"times such as 1\.50000E\+09 were rounded"):
        read(path, k_core=0)


@pytest.mark.parametrize("offset", ["+99:99", "+19:00", "+01:60"])
def test_an_offset_that_no_zone_has(offset: str) -> None:
    assert read_as([f"2017-07-24T22:39:54{offset}"]) == [None]


def test_small_seconds_are_times(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,timestamp\na,x,140717\na,y,141399\na,z,140790\n")
    assert read(path, k_core=0).n_interactions == 3
