"""What a query may ask: ids of any type, ids that nobody knows, and what is said of both."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

import letterrec
from command import letterrec as typed
from letterrec import api
from letterrec.data.text import item_text
from letterrec.errors import NotFound, RequestError
from letterrec.serving.editing.editor import Editor
from letterrec.serving.editing.edits import AddItems, SetStates
from letterrec.serving.engine import Engine

SETTINGS = [
    *("training.epochs=1", "collaborative.training.epochs=1", "tokenizer.training.epochs=1"),
    *("tokenizer.codes=16", "recommender.dim=16", "evaluation.beam=10"),
]


def write_log(path: Path, rows: list[tuple[int, int]]) -> Path:
    """A folder with an interaction log of numbers, in the order of its rows, and titles."""
    path.mkdir()
    with (path / "interactions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "timestamp"])
        for at, (user, item) in enumerate(rows):
            writer.writerow([user, item, 1_700_000_000 + 60 * at])
    with (path / "items.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "title"])
        for item in sorted({item for _, item in rows}):
            writer.writerow([item, f"thing no. {item}"])
    return path


@pytest.fixture(scope="module")
def numbers_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on users and items that are numbers; item 999 is too rare for the 5-core."""
    folder = tmp_path_factory.mktemp("numbers")
    rows = [(user, 1 + (user + step) % 20) for user in range(40) for step in range(8 + user % 3)]
    source = write_log(folder / "data", [*rows, (0, 999)])
    letterrec.fit(source, folder / "run", letterrec.load_settings(None, SETTINGS))
    return folder / "run"


@pytest.fixture(scope="module")
def numbers(numbers_run: Path) -> Engine:
    return letterrec.load(numbers_run)


@pytest.fixture(scope="module")
def engine(shop_run: Path) -> Engine:
    return letterrec.load(shop_run)


class Column(list[Any]):
    """Iterates as a pandas Series does, and has its shape and values."""

    shape = (2,)


@pytest.mark.slow
@pytest.mark.parametrize(
    "history",
    [
        [1, 2],
        (1, 2),
        [1.0, 2.0],
        [" 1", "2.0"],
        np.array([1, 2]),
        np.array([1, 2], dtype=np.int8),
        [np.int64(1), np.uint16(2)],
        pl.Series([1, 2]),
        pl.Series(["1", "2"]),
        Column([1, 2]),
        range(1, 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_ids_of_any_type_are_the_same_ids(numbers: Engine, history: Any) -> None:
    (expected,) = numbers.recommend([["1", "2"]], k=5)
    (answer,) = numbers.recommend([history], k=5)
    assert answer == expected
    (answer,) = numbers.recommend([history], k=5, allowed=history, exclude_seen=False)
    assert {item for item, _ in answer} == {"1", "2"}


@pytest.mark.slow
def test_columns_of_histories_and_numbers_of_users(numbers: Engine) -> None:
    expected = numbers.recommend([["1", "2"], ["3", "4"]], k=np.int64(5))  # type: ignore[arg-type]
    assert numbers.recommend(pl.Series([[1, 2], [3, 4]]), k=5) == expected
    assert numbers.recommend(np.array([[1, 2], [3, 4]]), k=5) == expected
    assert numbers.history_of(7) == numbers.history_of("7") == numbers.history_of(np.int32(7))


@pytest.mark.slow
def test_numbers_over_http(serve: Callable[..., Any], numbers_run: Path) -> None:
    with serve(numbers_run) as served, served.client() as client:

        def items(**body: Any) -> list[str]:
            answer = client.post("/v1/recommend", json=body)
            assert answer.status_code == 200, answer.text
            return [item["item"] for item in answer.json()["items"]]

        assert items(user=7) == items(user="7")
        assert items(history=[1, 2]) == items(history=["1", "2"]) == items(history=[1.0, "2.0"])
        assert items(history=[1], allowed=[5, 6], blocked=[6]) == ["5"]
        body = {"items": [{"item": 77, "title": "thing no. 77"}]}
        assert client.post("/v1/items", json=body).json()["items"][0]["item"] == "77"
        body = {"items": [{"item": "78.0", "title": "thing no. 78"}]}
        assert client.post("/v1/items", json=body).json()["items"][0]["item"] == "78"
        schema = client.get("/openapi.json").json()["components"]["schemas"]["RecommendRequest"]
        assert {"type": "integer"} in schema["properties"]["history"]["anyOf"][0]["items"]["anyOf"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"histories": [["i01", None]]}, "None is no id"),
        ({"histories": [["i01", float("nan")]]}, "nan is no id"),
        ({"histories": [["i01", True]]}, "True is no id"),
        ({"histories": [[["i01"]]]}, "no id"),
        ({"histories": [1, 2]}, "list of lists of item ids; int"),
        ({"histories": 7}, "list of lists of item ids; int"),
        ({"histories": {"u1": ["i01"]}}, "list of lists of item ids; dict"),
        ({"histories": [{"i01": 1}]}, "list of lists of item ids; dict"),
        ({"histories": [{"i01"}]}, "a set, which has none"),
        ({"histories": [b"i01"]}, "list of lists of item ids; bytes"),
        ({"histories": [pl.DataFrame({"item": ["i01"]})]}, "give one of its columns"),
        ({"histories": [["i01"]], "allowed": [["i01"]]}, "allowed: .*no id"),
        ({"histories": [["i01"]], "allowed": 3}, "allowed is a collection of item ids; int"),
        ({"histories": [["i01"]], "allowed": {"i01": 1}}, "allowed is a collection"),
        ({"histories": [["i01"]], "exclude_seen": "no"}, "exclude_seen = 'no'"),
        ({"histories": [["i01"]], "instruction": 3}, "expected one text for all histories"),
        ({"histories": [["i01"]], "unknown": "drop"}, "expected 'skip' or 'refuse'"),
        ({"histories": [["i01"]], "k": None}, "k = None"),
        ({"histories": [["i01"]], "beam": True}, "beam = True"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_wrong_types_are_one_line(engine: Engine, arguments: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        engine.recommend(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("beam", [0, -3, True, 2.5])
def test_a_beam_of_nothing_is_refused(shop_run: Path, beam: Any) -> None:
    with pytest.raises(RequestError, match=r"beam = .*at least 1"):
        api.evaluate(shop_run, beam=beam)
    with pytest.raises(RequestError, match=r"beam = .*at least 1"):
        api.evaluate_cold(shop_run, beam=beam)


def test_unknown_items_are_skipped_and_named(engine: Engine) -> None:
    with pytest.warns(UserWarning, match=r"skipped items 'x1', 'x2': not among the 60 items"):
        answers = engine.recommend([["x1", "i05", "x2"], ["i06"], ["x1", "i07"]], k=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert answers == engine.recommend([["i05"], ["i06"], ["i07"]], k=5)
    with pytest.warns(UserWarning, match=r"skipped item 'x9'"):
        (answer,) = engine.recommend([["i05"]], allowed=["i06", "x9"])
    assert [item for item, _ in answer] == ["i06"]


def test_nothing_known_is_refused_and_so_is_anything_unknown_when_asked(engine: Engine) -> None:
    with pytest.raises(NotFound, match="history: nothing of it is known: items 'x1', 'x2' are not"):
        engine.recommend([["i01"], ["x1", "x2"]])
    with pytest.raises(NotFound, match="allowed: nothing of it is known: item 'x1' is not among"):
        engine.recommend([["i01"]], allowed=["x1"])
    with pytest.raises(NotFound, match="history: item 'x1' is not among the 60 items"):
        engine.recommend([["i01", "x1"]], unknown="refuse")
    assert engine.recommend([["i01"]], allowed=[]) == [[]]


@pytest.mark.slow
def test_ids_that_the_core_dropped_are_told_so(numbers: Engine) -> None:
    words = "items with fewer than 5 interactions were dropped by the 5-core"
    with pytest.raises(NotFound, match=words):
        numbers.recommend([[999]])
    with pytest.warns(UserWarning, match=words):
        numbers.recommend([[1, 999]])


def test_deleted_items_stay_usable_in_histories(own_run: Path) -> None:
    engine = letterrec.load(own_run)
    Editor(engine).make(SetStates({"i07": "deleted"}))
    assert len(engine.recommend([["i07"]], k=5, unknown="refuse")[0]) == 5


def test_what_was_skipped_is_in_the_answer(client: httpx.Client) -> None:
    body = {"history": ["x1", "i05", "x1"], "blocked": ["x2"], "allowed": ["i06", "x3"], "k": 3}
    answer = client.post("/v1/recommend", json=body).raise_for_status().json()
    assert answer["skipped"] == ["x1", "x3", "x2"]
    assert [item["item"] for item in answer["items"]] == ["i06"]
    answer = client.post("/v1/recommend", json={**body, "unknown": "refuse"})
    assert answer.status_code == 404
    assert client.post("/v1/recommend", json={"history": ["i05"]}).json()["skipped"] == []


def test_a_bad_request_of_a_batch_fails_alone(client: httpx.Client) -> None:
    good = {"history": ["i05"], "k": 3}
    requests: list[Any] = [
        good,
        {"history": ["nope"]},
        {"history": ["i05"], "k": 0},
        {"user": "nobody"},
        {"history": [], "user": "u1"},
        "no request",
        {"history": ["i05"], "limit": 3},
        {"history": [None]},
        good,
    ]
    answer = client.post("/v1/recommend/batch", json={"requests": requests})
    assert answer.status_code == 200, answer.text
    answers = answer.json()["answers"]
    alone = client.post("/v1/recommend", json=good).json()
    for i in (0, 8):
        assert [n["item"] for n in answers[i]["items"]] == [n["item"] for n in alone["items"]]
    for request, one in zip(requests[1:8], answers[1:8], strict=True):
        assert set(one) == {"error"}
        refused = client.post("/v1/recommend", json=request)
        assert one["error"]["status"] == refused.status_code
        detail = refused.json()["detail"].removeprefix("body.").removeprefix("body")
        assert one["error"]["detail"].removeprefix("request") == detail
    only_bad = client.post("/v1/recommend/batch", json={"requests": [{"k": 0}]})
    assert only_bad.status_code == 200
    for malformed in ({}, {"requests": []}, {"requests": {}}, [good], {"requests": [good], "x": 1}):
        assert client.post("/v1/recommend/batch", json=malformed).status_code == 422


def test_the_description_tells_of_errors_in_a_batch(client: httpx.Client) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    items = schemas["BatchRequest"]["properties"]["requests"]["items"]
    assert items == {"$ref": "#/components/schemas/RecommendRequest"}
    kinds = schemas["BatchResponse"]["properties"]["answers"]["items"]["anyOf"]
    assert {kind["$ref"].rpartition("/")[2] for kind in kinds} == {"RecommendResponse", "Refused"}
    assert set(schemas["Refusal"]["properties"]) == {"status", "detail"}


def test_a_new_item_is_shown_by_its_title(
    own_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Editor(letterrec.load(own_run)).make(AddItems({"n1": item_text("brand new thing")}))
    assert typed("recommend", own_run, "--user", "u3", "-k", "61") == 0
    assert "brand new thing" in capsys.readouterr().out


def test_the_command_line_skips_and_tells(
    shop_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("recommend", shop_run, "--history", "i05,x1", "-k", "3", "--json") == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["skipped"] == ["x1"]
    assert len(result["items"]) == 3
    (line,) = [line for line in printed.err.splitlines() if line.startswith("letterrec: ")]
    assert "skipped item 'x1': not among the 60 items" in line
    assert typed("recommend", shop_run, "--history", "i05,x1", "--unknown", "refuse") == 2
    assert "'x1' is not among" in capsys.readouterr().err


def test_an_empty_list_says_why(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    editor = Editor(letterrec.load(own_run))
    editor.make(SetStates({f"i{i:02d}": "blocked" for i in range(10)}))
    history = ",".join(f"i{i:02d}" for i in range(10, 60))
    for extra in ([], ["--json"]):
        assert typed("recommend", own_run, "--history", history, *extra) == 0
        printed = capsys.readouterr()
        assert "no item is left to recommend: of the 60 items" in printed.err
        assert "50 in the history (seen), 10 blocked or deleted" in printed.err
        assert (json.loads(printed.out)["items"] == []) if extra else printed.out == ""


@pytest.mark.slow
def test_people_who_come_back_are_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everyone goes round the same three items."""
    rows = [
        (user, 1 + (3 * user + step % 3) % 30) for user in range(40) for step in range(9 + user % 2)
    ]
    source = write_log(tmp_path / "data", rows)
    run = tmp_path / "run"
    settings = [part for one in SETTINGS for part in ("--set", one)]
    assert typed("fit", source, "--out", run, *settings) == 0
    printed = capsys.readouterr().out
    assert "100% of the held-out items were in the user's history before" in printed
    assert typed("recommend", run, "--user", "3", "-k", "30", "--json") == 0
    printed = capsys.readouterr()
    assert "given --include-seen" in printed.err
    assert len(json.loads(printed.out)["items"]) == 27
    assert typed("recommend", run, "--user", "3", "-k", "30", "--json", "--include-seen") == 0
    printed = capsys.readouterr()
    assert "--include-seen" not in printed.err
    assert len(json.loads(printed.out)["items"]) == 30


def test_where_few_come_back_nothing_is_said(
    shop_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("recommend", shop_run, "--user", "u3") == 0
    assert capsys.readouterr().err == ""
    recs = tmp_path / "recs.csv"
    for name, words in (("recs.txt", "expected a name that ends with"), ("recs.csv", "")):
        path = tmp_path / name
        code = typed("recommend", shop_run, "--all-users", "--out", path, "-k", "2")
        assert code == (2 if words else 0)
        assert words in capsys.readouterr().err
    assert recs.read_text().startswith("user,rank,item,title,log_probability\nu0,1,i")
    words = ["recommend", shop_run, "--all-users", "--out", recs, "-k", "60"]
    assert typed(*words) == 2
    assert "--force" in capsys.readouterr().err
    assert typed(*words, "--force", "--include-seen") == 0
    assert len(recs.read_text().splitlines()) == 1 + 150 * 60
