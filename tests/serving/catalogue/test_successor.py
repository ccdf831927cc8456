"""Files of edits that are put back, moved away or replaced under a server or an engine."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

import letterrec
from letterrec.data.text import item_text
from letterrec.errors import RunError
from letterrec.serving.editing.editor import Editor
from letterrec.serving.editing.edits import AddItems, SetStates
from letterrec.serving.engine import Engine
from letterrec.serving.queries import Query

FILE = "catalogue.parquet"
PATIENCE = 60.0  # seconds


def new_items(*names: str, kind: str = "red lipstick") -> AddItems:
    return AddItems({name: item_text(f"{kind} {name}", ["brand 1"]) for name in names})


@pytest.fixture
def engine(own_run: Path) -> Engine:
    return letterrec.load(own_run)


def put_back(run: Path, copy: Path) -> None:
    """As `cp copy catalogue.parquet` does, but at once."""
    temporary = run / "putting-back"
    shutil.copyfile(copy, temporary)
    temporary.replace(run / FILE)


def same_answers(served: Engine, restarted: Engine) -> None:
    histories = [["i05", "i06"], ["i30"], []]
    (one, other) = (e.recommend(histories, k=70, exclude_seen=False) for e in (served, restarted))
    for mine, theirs in zip(one, other, strict=True):
        assert {item for item, _ in mine} == {item for item, _ in theirs}
        scores = dict(theirs)
        for item, score in mine:
            assert score == pytest.approx(scores[item], abs=1e-4)


def test_an_older_file_with_other_items_since_then_is_taken_over(
    engine: Engine, tmp_path: Path
) -> None:
    editor = Editor(engine)
    editor.make(new_items("a1", "a2"))
    editor.make(SetStates({"i03": "blocked"}))
    copy = Path(shutil.copy(engine.folder / FILE, tmp_path))
    editor.make(new_items("b1", "b2", "b3", kind="green tea"))
    editor.make(SetStates({"i03": "active", "a1": "deleted"}))
    assert engine.catalogue.n_items == 65
    before = engine.catalogue
    pending = [engine.prepare(Query(["b2", "i05"], k=65)), engine.prepare(Query(["a2"], k=65))]

    put_back(engine.folder, copy)
    assert engine.refresh()
    catalogue = engine.catalogue
    assert (catalogue.n_items, catalogue.generation) == (62, 2)
    assert "b1" not in catalogue.rows
    assert catalogue.directory.search("green tea b1", 5) == []
    assert catalogue.count("blocked") == 1
    assert catalogue.count("deleted") == 0
    same_answers(engine, letterrec.load(engine.folder))

    editor.make(new_items("c1", "b2", kind="chess set"))  # b2 is another item now
    after = engine.catalogue
    assert after.n_items == 64
    assert after.item_ids[: before.n_rows] == before.item_ids  # no row means another item
    assert np.array_equal(after.identifiers.codes[: before.n_rows], before.identifiers.codes)
    assert after.titles[after.rows["b2"]] == "chess set b2"
    assert after.rows["b2"] >= before.n_rows
    for answer in engine.answer(pending):  # queries of before: answered, by what is there now
        named = [after.item_ids[row] for row, _ in answer]
        assert len(set(named)) == len(named)
        assert not {"b1", "b3"} & set(named)
        assert all(row == after.rows[after.item_ids[row]] for row, _ in answer)
    same_answers(engine, letterrec.load(engine.folder))


def test_a_file_that_comes_back_gives_its_items_their_rows_again(
    engine: Engine, tmp_path: Path
) -> None:
    editor = Editor(engine)
    editor.make(new_items("a1"))
    first = Path(shutil.copy(engine.folder / FILE, tmp_path / "first"))
    editor.make(new_items("a2"))
    second = Path(shutil.copy(engine.folder / FILE, tmp_path / "second"))
    rows = dict(engine.catalogue.rows)
    for copy, n in [(first, 61), (second, 62)] * 2:
        put_back(engine.folder, copy)
        assert engine.refresh()
        assert engine.catalogue.n_items == n
        assert engine.catalogue.n_rows == 62
    assert engine.catalogue.rows == rows


def test_without_the_file_the_trained_catalogue_is_served(engine: Engine) -> None:
    trained = engine.recommend([["i05"]], k=60)
    Editor(engine).make(new_items("a1"))
    Editor(engine).make(SetStates({"i06": "deleted"}))
    (engine.folder / FILE).unlink()
    assert engine.refresh()
    assert engine.catalogue.n_items == 60
    assert engine.catalogue.generation == 0
    again = engine.recommend([["i05"]], k=60)
    assert [i for i, _ in again[0]] == [i for i, _ in trained[0]]
    assert not engine.refresh()


def test_another_file_with_as_many_edits_is_taken_over(engine: Engine, tmp_path: Path) -> None:
    editor = Editor(engine)
    editor.make(new_items("a1"))
    copy = Path(shutil.copy(engine.folder / FILE, tmp_path))
    (engine.folder / FILE).unlink()
    editor.make(new_items("z1", kind="jazz record"))
    assert (engine.catalogue.generation, "a1" in engine.catalogue.rows) == (1, False)
    put_back(engine.folder, copy)
    assert engine.refresh()
    assert "z1" not in engine.catalogue.rows
    assert "a1" in engine.catalogue.rows


def test_a_file_of_an_earlier_version_has_no_lineage_and_loads(engine: Engine) -> None:
    Editor(engine).make(new_items("a1"))
    path = engine.folder / FILE
    about = pl.read_parquet_metadata(path)
    assert about["lineage"]
    kept = {"run": about["run"], "generation": about["generation"]}
    pl.read_parquet(path).write_parquet(path, metadata=kept)
    again = letterrec.load(engine.folder)
    assert "a1" in again.catalogue.rows
    Editor(again).make(new_items("a2"))
    assert {"a1", "a2"} <= set(letterrec.load(engine.folder).catalogue.rows)
    assert pl.read_parquet_metadata(path)["lineage"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"content": pl.Series([[0.5] * 7], dtype=pl.List(pl.Float32))}, "numbers; this run's"),
        ({"level_2": pl.Series([99], dtype=pl.Int32)}, "a code of level 2"),
        ({"state": pl.Series(["gone"])}, "a state is neither"),
        ({"title": pl.Series([["a", "list"]])}, None),
    ],
    ids=["width", "code", "state", "title"],
)
def test_a_file_that_cannot_be_right_is_one_line(
    engine: Engine, change: dict[str, pl.Series], words: str | None
) -> None:
    Editor(engine).make(new_items("a1"))
    path = engine.folder / FILE
    about = pl.read_parquet_metadata(path)
    kept = {key: about[key] for key in ("run", "generation", "lineage")}
    pl.read_parquet(path).with_columns(**change).write_parquet(path, metadata=kept)
    with pytest.raises(RunError, match=r"is damaged .*; put back a copy") as caught:
        letterrec.load(engine.folder)
    assert words is None or words in str(caught.value)
    assert "\n" not in str(caught.value)


def add(client: httpx.Client, *names: str, kind: str = "red lipstick") -> httpx.Response:
    items = [{"item": name, "title": f"{kind} {name}"} for name in names]
    return client.post("/v1/items", json={"items": items})


def recommended(client: httpx.Client, **body: Any) -> set[str]:
    body = {"history": ["i05"], "k": 100, **body}
    answer = client.post("/v1/recommend", json=body).raise_for_status()
    return {item["item"] for item in answer.json()["items"]}


def wait_until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < ends, "waited too long"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["moved away", "older"])
def test_an_acknowledged_edit_holds_whatever_becomes_of_the_file(
    serve: Callable[..., Any], own_run: Path, tmp_path: Path, how: str
) -> None:
    with serve(own_run) as served, served.client() as client:
        add(client, "a1").raise_for_status()
        copy = Path(shutil.copy(own_run / FILE, tmp_path))
        add(client, "b1", "b2", kind="green tea").raise_for_status()
        client.patch("/v1/items/i20", json={"state": "blocked"}).raise_for_status()

        def lose() -> None:
            (own_run / FILE).unlink() if how == "moved away" else put_back(own_run, copy)

        lose()
        answer = add(client, "c1", kind="chess set")
        assert answer.status_code == 201, answer.text
        assert answer.json()["generation"] == (1 if how == "moved away" else 2)
        assert "c1" in recommended(client)
        lose()
        answer = client.patch("/v1/items/i06", json={"state": "blocked"})
        assert answer.status_code == 200
        left = recommended(client)
        assert not {"i06", "b1", "b2", "c1"} & left
        assert "i20" in left
        assert ("a1" in left) == (how == "older")
        assert client.get("/v1/items/b1").status_code == 404
        lose()
        wait_until(lambda: "i06" in recommended(client))  # without any edit
        expected = 60 if how == "moved away" else 61
        assert client.get("/v1/run").json()["items"] == expected


@pytest.mark.slow
def test_a_file_of_another_run_is_refused_and_the_server_goes_on(
    serve: Callable[..., Any], own_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(own_run) as served, served.client() as client:
        add(client, "a1").raise_for_status()
        path = own_run / FILE
        good = path.read_bytes()
        about = pl.read_parquet_metadata(path)
        kept = {"generation": about["generation"], "lineage": "other", "run": "of another run"}
        with caplog.at_level(logging.INFO, logger="letterrec.serving"):
            pl.read_parquet(path).write_parquet(path, metadata=kept)
            wait_until(lambda: "edits on the disk are not usable" in caplog.text)
        assert "a1" in recommended(client)
        for answer in (
            add(client, "b1"),
            client.patch("/v1/items/i06", json={"state": "blocked"}),
        ):
            assert answer.status_code == 503
            assert "edits of other identifiers" in answer.json()["detail"]
            assert "\n" not in answer.json()["detail"]
        path.write_bytes(good)
        wait_until(lambda: add(client, "b1").status_code == 201)
        assert {"a1", "b1"} <= recommended(client)


@pytest.mark.slow
def test_answers_stay_right_while_files_come_and_go(
    serve: Callable[..., Any], own_run: Path, tmp_path: Path
) -> None:
    """Requests without a pause while the file is replaced and items are added."""
    with serve(own_run) as served, served.client() as client:
        add(client, "a1", "a2").raise_for_status()
        copies = [Path(shutil.copy(own_run / FILE, tmp_path / "first"))]
        add(client, "b1", kind="green tea").raise_for_status()
        copies.append(Path(shutil.copy(own_run / FILE, tmp_path / "second")))
        wrong: list[str] = []
        over = threading.Event()

        def ask(history: list[str]) -> None:
            while not over.is_set():
                body = {"history": history, "k": 100, "explain": True, "exclude_seen": False}
                answer = client.post("/v1/recommend", json=body)
                if answer.status_code != 200:
                    wrong.append(f"{answer.status_code} {answer.text}")
                    continue
                items = answer.json()["items"]
                names = [item["item"] for item in items]
                wrong.extend(f"{item}" for item in items if not item["title"].endswith(tail(item)))
                if len(set(names)) < len(names) or len(names) < 60:
                    wrong.append(f"{names}")

        def tail(item: dict[str, Any]) -> str:
            name = item["item"]
            return name if name[0] != "i" else str(int(name[1:]))

        histories = [["i05", "b1", "a2"], ["i30", "c0", "a1"], ["i05"], ["i06", "c5", "b1"]]
        with ThreadPoolExecutor(len(histories)) as pool:
            asking = [pool.submit(ask, history) for history in histories]
            for i in range(6):
                put_back(own_run, copies[i % 2])
                kind = ("chess set", "jazz record")[i % 2]
                assert add(client, f"c{i}", kind=kind).status_code == 201
                assert f"c{i}" in recommended(client)
            over.set()
        for one in asking:
            one.result()
        assert wrong == []


def rewritten(run: Path, frame: pl.DataFrame, **about: str) -> None:
    """The file of edits with other rows, or with other words about itself."""
    old = {k: v for k, v in pl.read_parquet_metadata(run / FILE).items() if k != "ARROW:schema"}
    new = {**old, "lineage": "another", **about}
    frame.write_parquet(run / "making", metadata=new)
    (run / "making").replace(run / FILE)


def with_nan(frame: pl.DataFrame) -> pl.DataFrame:
    content = frame["content"].to_list()
    content[0][0] = float("nan")
    return frame.with_columns(pl.Series("content", content, dtype=pl.List(pl.Float32)))


@pytest.mark.parametrize(
    ("damage", "about", "reason"),
    [
        (with_nan, {}, "content"),
        (lambda f: pl.concat([f, f[:1]]), {}, "twice"),
        (lambda f: f.with_columns(item=pl.Series(["i03", "a2"])), {}, "trained on"),
        (lambda f: f, {"generation": "-1"}, "number of edits"),
        (lambda f: f, {"generation": "9" * 40}, "number of edits"),
    ],
)
def test_a_file_of_which_a_value_cannot_be_is_damaged(
    engine: Engine,
    damage: Callable[[pl.DataFrame], pl.DataFrame],
    about: dict[str, str],
    reason: str,
) -> None:
    Editor(engine).make(new_items("a1", "a2"))
    before = engine.catalogue
    rewritten(engine.folder, damage(pl.read_parquet(engine.folder / FILE)), **about)
    with pytest.raises(RunError, match=f"is damaged .*{reason}"):
        engine.refresh()
    assert engine.catalogue is before


def test_an_item_of_other_content_is_another_row(engine: Engine) -> None:
    Editor(engine).make(new_items("a1", "a2"))
    before = dict(engine.catalogue.rows)
    frame = pl.read_parquet(engine.folder / FILE)
    content = frame["content"].to_list()
    content[1] = [-x for x in content[1]]
    column = pl.Series("content", content, dtype=pl.List(pl.Float32))
    rewritten(engine.folder, frame.with_columns(column))
    assert engine.refresh()
    after = engine.catalogue
    assert after.rows["a1"] == before["a1"]
    assert after.rows["a2"] == after.n_rows - 1 > before["a2"]
    assert after.added_content[-1].tolist() == content[1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_what_is_no_regular_file_is_not_opened(engine: Engine) -> None:
    os.mkfifo(engine.folder / FILE)
    with pytest.raises(RunError, match="is no regular file"):
        engine.refresh()
    (engine.folder / FILE).unlink()
    (engine.folder / ".catalogue.lock").unlink(missing_ok=True)
    (engine.folder / ".catalogue.lock").mkdir()
    with pytest.raises(RunError) as caught:
        Editor(engine).make(SetStates({"i03": "blocked"}))
    assert "owner" not in str(caught.value)


def test_a_folder_that_is_gone_takes_no_edits(
    serve: Callable[..., Any], own_run: Path, tmp_path: Path
) -> None:
    with serve(own_run) as served, served.client() as client:
        client.patch("/v1/items/i02", json={"state": "blocked"}).raise_for_status()
        own_run.rename(tmp_path / "moved")
        answers = [
            client.patch("/v1/items/i01", json={"state": "blocked"}),
            client.post("/v1/items", json={"items": [{"item": "n1", "title": "red lipstick"}]}),
        ]
        for answer in answers:
            assert answer.status_code == 503
            assert "the run's folder is not there" in answer.json()["detail"]
            assert str(tmp_path) not in answer.json()["detail"]
        assert not own_run.exists()
        with pytest.raises(RunError, match="not there"):
            served.service.engine.refresh()
        assert client.get("/v1/items/i02").json()["state"] == "blocked"
