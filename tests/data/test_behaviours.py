"""Behaviours: how they are read, which are targets, what is held out."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from letterrec import read
from letterrec.data import Dataset, Histories
from letterrec.data.behaviours import with_targets
from letterrec.data.cold import ColdItems, hold_out
from letterrec.data.saved import read_dataset, write_dataset
from letterrec.data.temporal import split_in_time
from letterrec.decoding.ranker import Queries
from letterrec.errors import DataError

LOG = """user,item,timestamp,behaviour
a,1,1,view
a,1,2,buy
a,2,3,view
a,3,4,buy
a,2,5,view
b,3,1,buy
b,1,2,view
b,2,3,buy
b,2,3,view
c,1,1,view
c,3,2,buy
"""


def table(folder: Path, text: str = LOG) -> Path:
    path = folder / "log.csv"
    path.write_text(text)
    return path


def events(dataset: Dataset) -> dict[str, list[str]]:
    """What each user did, as in ``view 1``."""
    of_each = dataset.interactions.behaviours
    assert of_each is not None
    said = [
        f"{dataset.behaviours[b]} {dataset.item_ids[i]}"
        for i, b in zip(dataset.interactions.items, of_each, strict=True)
    ]
    bounds = dataset.interactions.offsets
    return {u: said[bounds[r] : bounds[r + 1]] for r, u in enumerate(dataset.user_ids)}


def test_a_column_of_behaviours(tmp_path: Path) -> None:
    dataset = read(table(tmp_path), k_core=0)
    assert dataset.behaviours == ("buy", "view")
    assert events(dataset)["b"] == ["buy 3", "view 1", "buy 2", "view 2"]  # of one time: two events


@pytest.mark.parametrize("name", ["event", "Event_Type", "action"])
def test_other_names_of_the_column(name: str, tmp_path: Path) -> None:
    dataset = read(table(tmp_path, LOG.replace("behaviour", name)), k_core=0)
    assert dataset.behaviours == ("buy", "view")
    assert f"log.csv: column {name!r} is read as 'behaviour'" in dataset.warnings


def test_a_column_that_was_named(tmp_path: Path) -> None:
    path = table(tmp_path, LOG.replace("behaviour", "what"))
    assert read(path, k_core=0).behaviours == ()
    assert read(path, k_core=0, columns={"behaviour": "what"}).behaviours == ("buy", "view")


def test_rows_without_a_behaviour_are_counted(tmp_path: Path) -> None:
    dataset = read(table(tmp_path, LOG + "a,1,9,\n"), k_core=0)
    assert "1 interaction without a behaviour: dropped" in dataset.warnings
    assert dataset.n_interactions == 11


def test_a_log_without_any_behaviour(tmp_path: Path) -> None:
    path = table(tmp_path, "user,item,timestamp,behaviour\na,1,1,\na,2,2,\n,3,3,buy\n")
    with pytest.raises(DataError, match="no interaction with user, item and time has a behaviour"):
        read(path, k_core=0)


def test_a_column_of_something_else(tmp_path: Path) -> None:
    rows = [f"u{i % 5},{i % 7},{i},e{i}" for i in range(60)]
    path = table(tmp_path, "\n".join(["user,item,timestamp,event", *rows]) + "\n")
    dataset = read(path, k_core=0)
    assert dataset.behaviours == ()
    assert "the column of behaviours has 60 different names: it is not read" in dataset.warnings
    with pytest.raises(DataError, match="60 different names; expected 1 to 50"):
        read(path, k_core=0, columns={"behaviour": "event"})


def test_recboles_tokens(tmp_path: Path) -> None:
    lines = LOG.replace(",", "\t").splitlines()
    header = "user_id:token\titem_id:token\ttimestamp:float\tbehaviour:token"
    (tmp_path / "shop.inter").write_text("\n".join([header, *lines[1:]]) + "\n")
    assert events(read(tmp_path, k_core=0)) == events(read(table(tmp_path), k_core=0))


def test_retailrocket(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(
        "timestamp,visitorid,event,itemid,transactionid\n"
        "1433221332117,7,view,355908,\n1433221332118,7,addtocart,355908,\n"
        "1433221332119,7,transaction,355908,4000\n"
    )
    dataset = with_targets(read(tmp_path, k_core=0), ["transaction"])
    assert dataset.behaviours == ("addtocart", "transaction", "view")
    assert events(dataset)["7"] == ["view 355908", "addtocart 355908", "transaction 355908"]


RATED = [("u", "m1", 5.0, 1), ("u", "m2", 2.0, 2), ("u", "m3", 4.0, 3), ("v", "m1", 0.5, 1)]


def amazon(folder: Path) -> Path:
    keys = ("reviewerID", "asin", "overall", "unixReviewTime")
    lines = [json.dumps(dict(zip(keys, row, strict=True))) for row in RATED]
    path = folder / "reviews_Toys.json.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def movielens(folder: Path) -> Path:
    rows = [f"{u},{i},{r},{t}" for u, i, r, t in RATED]
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *rows]))
    return folder / "ratings.csv"


@pytest.mark.parametrize("make", [amazon, movielens])
def test_ratings_cut_into_grades(make: object, tmp_path: Path) -> None:
    path = amazon(tmp_path) if make is amazon else movielens(tmp_path)
    dataset = read(path, k_core=0, grades={"liked": 4, "disliked": 1})
    assert dataset.behaviours == ("disliked", "liked")  # the lowest first
    assert dataset.graded
    assert events(dataset) == {"u": ["liked m1", "disliked m2", "liked m3"]}
    assert "1 interaction rated below 1: dropped" in dataset.warnings
    assert read(path, k_core=0).behaviours == ()  # without grades a rating is none


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"grades": {"liked": "much"}}, "expected names with their lowest ratings"),
        ({"grades": {"liked": 4, "loved": 4}}, "two begin at the same rating"),
        ({"grades": {"liked": 4}, "columns": {"behaviour": "b"}}, "leave out one of them"),
        ({"grades": {"liked": 9}}, "lower data.grades"),
    ],
)
def test_grades_that_make_no_sense(options: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read(movielens(tmp_path), k_core=0, **options)  # type: ignore[arg-type]


def test_what_is_held_out_are_targets(tmp_path: Path) -> None:
    dataset = with_targets(read(table(tmp_path), k_core=0), ["buy"])
    assert "targets: 5 interactions of buy are to be predicted, 6 are context (view)" in (
        dataset.warnings
    )
    test, valid = dataset.held_out("test"), dataset.held_out("valid")
    # a bought 1, then 3; b's first purchase has nothing before it; c bought once
    assert [dataset.user_ids[u] for u in test.users] == ["a"]
    assert dataset.item_ids[test.targets[0]] == "3"
    assert [dataset.item_ids[i] for i in test.histories[0]] == ["1", "1", "2"]
    assert dataset.item_ids[valid.targets[0]] == "1"
    assert [dataset.item_ids[i] for i in valid.histories[0]] == ["1"]
    assert dataset.training().lengths.tolist() == [1, 4, 2]
    assert dataset.popularity.tolist() == [0, 1, 2]


def test_a_window_of_time_asks_for_its_first_target(tmp_path: Path) -> None:
    rows = [("a", 1, 1, "buy"), ("a", 2, 2, "view"), ("a", 1, 11, "view"), ("a", 3, 12, "buy")]
    rows += [("a", 2, 21, "view"), ("a", 1, 22, "view"), ("a", 2, 23, "buy")]
    rows += [("b", 1, 1, "buy"), ("b", 2, 2, "buy"), ("b", 3, 22, "view")]
    lines = [",".join(map(str, row)) for row in rows]
    path = table(tmp_path, "\n".join(["user,item,timestamp,behaviour", *lines]))
    dataset = with_targets(read(path, k_core=0), ["buy"])
    moments = ("1970-01-01T00:00:20", "1970-01-01T00:00:10")
    dataset = split_in_time(dataset, *moments)
    test = dataset.held_out("test")
    assert [dataset.user_ids[u] for u in test.users] == ["a"]
    assert dataset.item_ids[test.targets[0]] == "2"
    assert len(test.histories[0]) == 6  # what was viewed in the window came before
    assert dataset.training().lengths.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("names", "said"),
    [(["wish"], "'wish' is no behaviour; expected buy or view"), ([], None)],
)
def test_targets_that_are_unknown(names: list[str], said: str | None, tmp_path: Path) -> None:
    dataset = read(table(tmp_path), k_core=0)
    if said:
        with pytest.raises(DataError, match=said):
            with_targets(dataset, names)
    plain = read(table(tmp_path, LOG.replace("behaviour", "what")), k_core=0)
    with pytest.raises(DataError, match="has no behaviours; give a log with a column 'behaviour'"):
        with_targets(plain, ["buy"])


def test_they_come_back_from_a_run(tmp_path: Path) -> None:
    dataset = with_targets(read(table(tmp_path), k_core=0), ["buy"])
    write_dataset(dataset, tmp_path)
    again = read_dataset(tmp_path)
    assert events(again) == events(dataset)
    assert again.targets == dataset.targets
    assert again.fingerprint == dataset.fingerprint
    assert again.fingerprint != replace(dataset, targets=()).fingerprint


def test_held_out_items_keep_the_behaviours_of_histories(tmp_path: Path) -> None:
    dataset = with_targets(read(table(tmp_path), k_core=0), ["buy"])
    dataset = replace(dataset, texts=dataset.titles)
    for seed in range(20):
        rest, cold = hold_out(dataset, 0.3, seed)
        if cold.item_ids == ("3",):
            break
    assert events(rest)["a"] == ["view 1", "buy 1", "view 2", "view 2"]
    assert [cold.item_ids[t] for t in cold.targets] == ["3", "3"]  # of a and of c
    (tmp_path / "cold").mkdir()
    cold.save(tmp_path / "cold")
    again = ColdItems.load(tmp_path / "cold").histories
    assert again.behaviours is not None
    assert np.array_equal(again.behaviours, [1, 0, 1, 1])
    assert again.lengths.tolist() == [3, 1]


def test_seen_is_what_the_asked_behaviour_has_come_upon(tmp_path: Path) -> None:
    dataset = with_targets(read(table(tmp_path), k_core=0), ["buy"])
    histories = Histories(
        np.array([0, 3]), np.array([0, 1, 2], np.int32), np.array([0, 1, 1], np.int8)
    )
    buy, view = 0, 1
    for asked, seen in ((-1, [0, -1, -1]), (buy, [0, -1, -1]), (view, [-1, 1, 2])):
        queries = Queries(histories, 3, exclude_seen=True, seen_by=dataset.seen_by(asked))
        left_out = queries.seen()
        assert left_out is not None
        assert left_out.tolist() == [seen]
    assert replace(dataset, graded=True).seen_by(buy) is None  # what has a grade has one
