from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from letterrec.data import Dataset
from letterrec.data.readers.compact_log import collect_events
from letterrec.data.readers.interactions import dataset_from_events
from letterrec.data.readers.k_core import duplicates, k_core, stable_order

LOG = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 4)), max_size=60)


def naive_k_core(pairs: list[tuple[int, int]], k: int) -> list[int]:
    left = list(range(len(pairs)))
    while True:
        users = Counter(pairs[r][0] for r in left)
        items = Counter(pairs[r][1] for r in left)
        kept = [r for r in left if users[pairs[r][0]] >= k and items[pairs[r][1]] >= k]
        if kept == left:
            return left
        left = kept


def built(rows: list[tuple[object, object, object]], k: int = 0) -> Dataset:
    frame = pl.LazyFrame(rows, schema=["user", "item", "time"], orient="row")
    return dataset_from_events(
        collect_events(frame, where="log"), name="log", where="log", k_core=k
    )


@settings(deadline=None, max_examples=50)
@given(log=LOG, k=st.integers(0, 4))
def test_k_core_equals_the_naive_one(log: list[tuple[int, int, int]], k: int) -> None:
    users = np.array([u for u, _, _ in log], dtype=np.int64)
    items = np.array([i for _, i, _ in log], dtype=np.int64)
    assert k_core(users, items, k).tolist() == naive_k_core([(u, i) for u, i, _ in log], k)


@settings(deadline=None, max_examples=50)
@given(log=LOG)
def test_duplicates_equal_the_naive_ones(log: list[tuple[int, int, int]]) -> None:
    log = sorted(log, key=lambda row: (row[0], row[2]))
    users, items, times = np.array(log, dtype=np.int64).reshape(-1, 3).T
    expected = [row in log[:i] for i, row in enumerate(log)]
    assert duplicates(users, items, times).tolist() == expected


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**62), st.floats(0, 1e18)), min_size=1)
)
def test_stable_order_equals_lexsort(rows: list[tuple[int, int, float]]) -> None:
    users, moments, times = (np.array(column) for column in zip(*rows, strict=True))
    for second in (moments, times):
        expected = np.lexsort((second, users)).tolist()
        assert stable_order(second, users.astype(np.uint32)).tolist() == expected


@settings(deadline=None, max_examples=50)
@given(log=LOG.filter(bool))
def test_sequences_equal_a_stable_sort(log: list[tuple[int, int, int]]) -> None:
    distinct = list(dict.fromkeys(log))
    expected: dict[str, list[str]] = {}
    for user, item, _ in sorted(distinct, key=lambda row: row[2]):
        expected.setdefault(str(user), []).append(str(item))
    dataset = built(log)
    assert dataset.user_ids == tuple(sorted(expected))
    assert dataset.item_ids == tuple(sorted({str(i) for _, i, _ in log}))
    found = [[dataset.item_ids[i] for i in s] for s in dataset.interactions]
    assert found == [expected[u] for u in dataset.user_ids]


def test_ties_keep_the_order_of_the_source() -> None:
    dataset = built([("u", "c", 5), ("u", "a", 5), ("u", "b", 1), ("u", "d", 5)])
    assert [dataset.item_ids[i] for i in dataset.interactions[0]] == ["b", "c", "a", "d"]


def test_the_same_item_at_another_time_is_kept() -> None:
    dataset = built([("u", "a", 1), ("u", "a", 2), ("u", "a", 2)])
    assert dataset.interactions[0].tolist() == [0, 0]
    assert "1 duplicate interaction (same user, item and time): dropped" in dataset.warnings


def test_rows_are_sorted_by_number_where_all_ids_are_numbers() -> None:
    assert built([(10, 10, 1), (9, 9, 1), (100, 2, 1)]).user_ids == ("9", "10", "100")
    assert built([("10", "x", 1), ("9", "y", 1), ("u", "z", 1)]).user_ids == ("10", "9", "u")


def test_missing_ids_are_dropped_and_counted() -> None:
    dataset = built([("u", "a", 1), (None, "b", 2), ("u", None, 3), ("", "c", 4)])
    assert dataset.item_ids == ("a",)
    assert "3 interactions without user or item: dropped" in dataset.warnings


def test_what_the_core_drops_is_counted() -> None:
    rows = [(u, i, t) for t, (u, i) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)])]
    dataset = built(rows, 2)
    assert dataset.user_ids == ("0", "1")
    assert "2-core: 1 user, 0 items and 1 interaction dropped" in dataset.warnings


def test_short_users_are_trained_on_and_not_evaluated() -> None:
    dataset = built([("u", "a", 1), ("u", "b", 2), ("v", "a", 1), ("v", "b", 2), ("v", "c", 3)])
    assert [h.tolist() for h in dataset.training()] == [[0, 1], [0]]
    assert dataset.held_out("test").users.tolist() == [1]
    assert "1 user with fewer than 3 interactions: trained on, not evaluated" in dataset.warnings


@pytest.mark.parametrize(
    "times",
    [
        [1_500_000_000, 1_400_000_000, 1_600_000_000],
        [1.5e9 + 0.25, 1.5e9, 1.5e9 + 0.5],
        [1_500_000_000_000, 1_400_000_000_000, 1_600_000_000_000],
        ["1500000000", "1400000000", "1600000000"],
        ["2018-01-02", "2018-01-01", "2018-01-03"],
        ["2018-01-01T00:00:01", "2018-01-01 00:00:00", "2018-01-01T00:00:01.5"],
        ["2018-01-01T00:30:00Z", "2018-01-01T01:00:00+02:00", "2018-01-01T00:31"],
    ],
    ids=["seconds", "fractions", "milliseconds", "text", "days", "moments", "offsets"],
)
def test_every_way_to_write_a_time(times: list[object]) -> None:
    dataset = built([("u", item, time) for item, time in zip("abc", times, strict=True)])
    assert dataset.interactions[0].tolist() == [1, 0, 2]


def test_parquet_dates_and_moments(tmp_path: Path) -> None:
    for dtype in (pl.Date, pl.Datetime("ms"), pl.Datetime("ns", "Asia/Tokyo")):
        days = pl.Series(["2018-01-02", "2018-01-01", "2018-01-03"]).str.to_date().cast(dtype)
        frame = pl.LazyFrame({"user": [1, 1, 1], "item": ["a", "b", "c"], "time": days})
        events = collect_events(frame, where="log")
        dataset = dataset_from_events(events, name="log", where="log", k_core=0)
        assert dataset.interactions[0].tolist() == [1, 0, 2]
