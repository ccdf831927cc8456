"""The temporal split: one time for all, whom it asks for, what a run keeps of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import letterrec
from letterrec.config.settings import DataSettings
from letterrec.data.dataset import Dataset
from letterrec.data.reading import read_split
from letterrec.data.saved import read_dataset, write_dataset
from letterrec.data.temporal import split_in_time
from letterrec.errors import DataError, LetterRecError, RunError, SettingsError
from letterrec.runs.run import Run

DAY = 86_400
LOG = {  # user -> (day, item), in an order that is not that of time
    "a": [(1, "p"), (2, "q"), (5, "r"), (6, "s"), (8, "p"), (9, "q")],
    "b": [(2, "q"), (1, "p"), (3, "r")],
    "c": [(1, "s"), (9, "r")],
    "new": [(8, "p"), (9, "s")],
    "late": [(6, "q"), (9, "p")],
}

WINDOWS = {"test_from": "1970-01-09", "valid_from": "1970-01-06"}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    rows = [f"{u},{item},{DAY * day}" for u, had in LOG.items() for day, item in had]
    path = tmp_path / "log" / "interactions.csv"
    path.parent.mkdir()
    path.write_text("user,item,timestamp\n" + "\n".join(rows) + "\n")
    return path.parent


@pytest.fixture
def dataset(log: Path) -> Dataset:
    return letterrec.read(log, k_core=0)


def cases_of(dataset: Dataset, split: str) -> dict[str, tuple[str, str]]:
    cases = dataset.held_out(split)  # type: ignore[arg-type]
    return {
        dataset.user_ids[u]: ("".join(dataset.item_ids[i] for i in h), dataset.item_ids[t])
        for u, h, t in zip(cases.users, cases.histories, cases.targets, strict=True)
    }


def test_times_follow_the_interactions(dataset: Dataset) -> None:
    assert dataset.times is not None
    days = {
        u: (dataset.times[a:b] / DAY).tolist()
        for u, a, b in zip(
            dataset.user_ids,
            dataset.interactions.offsets[:-1],
            dataset.interactions.offsets[1:],
            strict=True,
        )
    }
    assert days == {u: sorted(day for day, _ in had) for u, had in LOG.items()}


@pytest.mark.parametrize(
    ("test", "valid"),
    [("1970-01-09", "1970-01-06"), (str(8 * DAY), "1970-01-06T00:00:00"), ("0.4", "0.6")],
)
def test_who_is_asked_for_what(dataset: Dataset, test: str, valid: str) -> None:
    cut = split_in_time(dataset, test, valid)
    trained = {u: len(h) for u, h in zip(cut.user_ids, cut.training(), strict=True)}
    assert trained == {"a": 2, "b": 3, "c": 1, "new": 0, "late": 0}
    assert cases_of(cut, "valid") == {"a": ("pq", "r")}
    assert cases_of(cut, "test") == {"a": ("pqrs", "p"), "c": ("s", "r"), "late": ("q", "p")}
    assert "(1 users; 1 more have no history before it)" in cut.warnings[-1]
    assert "(3 users; 1 more have none)" in cut.warnings[-1]
    assert cut.popularity.sum() == 6
    assert cut.fingerprint != dataset.fingerprint


def test_of_several_behaviours_the_note_and_the_metrics_count_who_is_asked_for(
    tmp_path: Path,
) -> None:
    """Users who buy are asked for, with the views in the window that come before."""
    kinds = {
        "bought": [(1, "p", "view"), (2, "q", "buy"), (9, "r", "buy")],
        "viewed": [(1, "p", "view"), (2, "q", "buy"), (9, "r", "view")],
        "came": [(8, "p", "view"), (9, "q", "buy")],  # is asked for: he has viewed
        "new": [(9, "q", "buy")],
        "looked": [(9, "q", "view")],
    }
    rows = [f"{u},{i},{DAY * day},{kind}" for u, had in kinds.items() for day, i, kind in had]
    (tmp_path / "interactions.csv").write_text("\n".join(["user,item,timestamp,behaviour", *rows]))
    windows = {"test_from": "1970-01-08", "valid_from": "1970-01-06"}
    settings = DataSettings(split="temporal", targets=["buy"], k_core=0, **windows)
    cut, _ = read_split(str(tmp_path), settings, seed=0)
    assert cases_of(cut, "test") == {"bought": ("pq", "r"), "came": ("p", "q")}
    assert "(2 users; 1 more have none)" in cut.warnings[-1]
    assert cut.newcomers("test") == 1
    assert cut.newcomers("test", cut.behaviours.index("view")) == 2  # came, looked


def test_both_windows_are_as_large_unless_said_otherwise(dataset: Dataset) -> None:
    cut = split_in_time(dataset, "0.2")  # of 15: three days 9, then days 8, 8, 9
    lengths = dataset.interactions.lengths
    assert cut.cut is not None
    n_test = int((lengths - cut.cut.test).sum())
    n_valid = int((cut.cut.test - cut.cut.valid).sum())
    assert (n_test, n_valid) == (4, 4)  # what is at the time of the first belongs to the window


@pytest.mark.parametrize(
    ("test", "valid", "kind", "answer"),
    [
        ("soon", None, SettingsError, "data.test_from = 'soon': expected a date or time"),
        ("-1", None, SettingsError, "expected a date or time"),
        ("0.2", "later", SettingsError, "data.valid_from = 'later'"),
        ("0.4", "0.2", SettingsError, "expected validation before the test"),
        ("2001-01-01", None, DataError, "without anyone to test"),
        ("0.2", "1970-01-01", DataError, "without anything to learn from"),
    ],
)
def test_what_leaves_nothing_is_refused(
    dataset: Dataset, test: str, valid: str | None, kind: type[LetterRecError], answer: str
) -> None:
    with pytest.raises(kind, match=answer):
        split_in_time(dataset, test, valid)


def test_a_source_without_times_is_refused(log: Path) -> None:
    settings = DataSettings(split="temporal", order="rows", k_core=0)
    with pytest.raises(DataError, match="has no times, only the order"):
        read_split(str(log), settings, seed=0)


def test_a_run_keeps_what_was_held_out(dataset: Dataset, tmp_path: Path) -> None:
    kept, _ = read_split(dataset, DataSettings(split="temporal", **WINDOWS), seed=0)
    assert kept.times is None
    write_dataset(kept, tmp_path)
    again = read_dataset(tmp_path)
    assert again.fingerprint == kept.fingerprint
    assert cases_of(again, "test") == cases_of(kept, "test")
    assert again.cut is not None
    write_dataset(replace(kept, cut=replace(again.cut, test=again.cut.test + 9)), tmp_path)
    with pytest.raises(RunError, match="does not fit the sequences"):
        read_dataset(tmp_path)


def test_a_run_is_trained_and_measured_by_time(log: Path, tmp_path: Path) -> None:
    windows = {f"data.{name}": value for name, value in WINDOWS.items()}
    settings = {"data.split": "temporal", "data.k_core": 0, **windows}
    run = letterrec.fit(log, tmp_path / "run", settings, recipe="popularity", progress=False)
    assert run.metrics()["test"]["users"] == 3
    assert letterrec.evaluate(tmp_path / "run", progress=False)["users"] == 3
    opened = Run.open(tmp_path / "run")
    assert opened.settings.data.test_from == "1970-01-09"
    np.testing.assert_array_equal(opened.dataset().popularity, [2, 2, 1, 1])


def test_items_can_be_held_out_beside(shop: Path) -> None:
    settings = DataSettings(split="temporal", test_from="0.2", cold_share=0.1)
    kept, cold = read_split(str(shop), settings, seed=0)
    assert cold is not None
    assert len(cold.item_ids) == 6
    assert len(kept.held_out("test")) > 0
