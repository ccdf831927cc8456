"""Wishes in words, asked of a run in Python, on the command line and over HTTP.

The shop's six kinds of items follow each other: after item ``i`` comes ``i + 1``, of the next kind.
"""

from __future__ import annotations

import json
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import letterrec
from command import letterrec as command
from letterrec.errors import DataError, RequestError, SettingsError
from letterrec.serving.editing.editor import Editor
from letterrec.serving.editing.edits import ChangeItem, SetStates
from letterrec.serving.engine import Engine
from letterrec.serving.queries import Query

KINDS = ("red lipstick", "garden hose", "jazz record", "running shoe", "green tea", "chess set")


def kind_of(item: str) -> int:
    return int(item[1:]) % 6


@pytest.fixture(scope="module")
def engine(wishing_run: Path) -> Engine:
    return letterrec.load(wishing_run)


def asked(engine: Engine, wish: str | None, *history: str, k: int = 5) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (answer,) = engine.recommend([history], k=k, instruction=wish)
    return [item for item, _ in answer]


def test_a_wish_alone_finds_its_kind(engine: Engine) -> None:
    for kind, words in enumerate(KINDS):
        found = asked(engine, f"could you find me some {words}")
        assert sum(kind_of(item) == kind for item in found) >= 4, words


def test_a_wish_beside_a_history_finds_what_follows_of_that_kind(engine: Engine) -> None:
    """Neither alone knows the item: the kind has ten, and the history leads to other kinds."""
    first = of_kind = 0
    for start in range(0, 54, 3):
        history = [f"i{start:02d}", f"i{start + 1:02d}"]
        follows = start + 2
        found = asked(engine, KINDS[follows % 6], *history)
        of_kind += sum(kind_of(item) == follows % 6 for item in found)
        first += found[0] == f"i{follows:02d}"
    assert of_kind >= 63  # of 90
    assert first >= 13  # of 18


def test_what_is_ruled_out_does_not_come(engine: Engine) -> None:
    history = ["i00", "i01"]
    assert kind_of(asked(engine, None, *history)[0]) == 2
    for wish in ("no jazz", "something, but not a record", "anything but jazz records"):
        found = asked(engine, wish, *history, k=40)
        assert len(found) == 40
        assert all(kind_of(item) != 2 for item in found)
    found = asked(engine, "green tea, no jazz", *history)
    assert sum(kind_of(item) == 4 for item in found) >= 4
    assert all(kind_of(item) != 1 for item in asked(engine, "no garden hose", k=30))


def test_without_a_wish_nothing_changes(engine: Engine, shop_run: Path) -> None:
    other = letterrec.load(shop_run)
    histories = [engine.history_of(user) for user in engine.dataset.user_ids[:40]]
    expected = other.recommend(histories, k=10)
    assert engine.recommend(histories, k=10) == expected
    wishes = ["green tea" if i % 2 else None for i in range(40)]  # nor among others with one
    for answer, before in list(
        zip(engine.recommend(histories, instruction=wishes), expected, strict=True)
    )[::2]:
        assert [item for item, _ in answer] == [item for item, _ in before]
        assert [s for _, s in answer] == pytest.approx([s for _, s in before], abs=1e-4)
    measured = json.loads((engine.folder / "metrics.json").read_text())
    before = json.loads((shop_run / "metrics.json").read_text())
    assert measured["test"]["metrics"] == before["test"]["metrics"]


def test_filters_and_wishes_go_together(engine: Engine) -> None:
    (answer,) = engine.recommend([["i00"]], allowed=["i04", "i05", "i10"], instruction="green tea")
    assert [item for item, _ in answer][2] == "i05"
    query = Query(["i03"], 60, instruction="no green tea", blocked=["i05"])
    found = {item for item, _ in engine.answer_ids([engine.prepare(query)])[0]}
    assert len(found) == 60 - 10 - 1 - 1
    assert "i05" not in found


def test_a_wish_that_nothing_answers_is_said_to_be(engine: Engine) -> None:
    with pytest.warns(UserWarning, match="no item of the catalogue is near 'quantum chromodyn"):
        (answer,) = engine.recommend([["i01"]], instruction="quantum chromodynamics lecture")
    assert len(answer) == 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.recommend([["i01"]], instruction="red lipstick")
        engine.recommend([["i01"]], instruction="no red lipstick")


def test_near_a_wish_are_items_that_may_come_back(wishing_run: Path, tmp_path: Path) -> None:
    engine = letterrec.load(shutil.copytree(wishing_run, tmp_path / "run"))
    wish = "red lipstick"
    for allowed in (["i01", "i02"], [f"i{i:02d}" for i in range(60) if i % 6]):
        with pytest.warns(UserWarning, match="no item that may come back is near 'red lipstick'"):
            engine.recommend([["i05"]], instruction=wish, allowed=allowed)
    nothing = {"where": {"brand": "brand 1"}, "allowed": ["i00"], "instruction": wish}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.recommend([["i05"]], instruction=wish, allowed=["i00", "i01"])
        assert engine.recommend([["i05"]], **nothing) == [[]]  # nothing is the least far
    Editor(engine).make(SetStates({f"i{i:02d}": "blocked" for i in range(0, 60, 6)}))
    with pytest.warns(UserWarning, match="no item of the catalogue is near 'red lipstick'"):
        engine.recommend([["i05"]], instruction=wish)


@pytest.mark.parametrize("wish", ["", "  ", "?!", ["green tea", "red"], [""], 3])
def test_no_wish_at_all_is_refused(engine: Engine, wish: Any) -> None:
    with pytest.raises(RequestError, match=r"instruction = .*expected"):
        engine.recommend([["i01"]], instruction=wish)


def test_a_run_that_reads_no_wishes_says_how_to_get_one(
    shop_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--user", "u1"], []):
        assert command("recommend", shop_run, *arguments, "--instruction", "green tea") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "fit with: --set wishes.enabled=true" in line


def test_wishes_on_the_command_line(wishing_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wish = ["--instruction", "green tea", "--json"]
    assert command("recommend", wishing_run, "--user", "u1", *wish) == 0
    answer = json.loads(capsys.readouterr().out)
    assert sum(kind_of(item["item"]) == 4 for item in answer["items"][:5]) >= 4
    assert answer["note"] is None
    assert command("recommend", wishing_run, "--instruction", "quantum chromodynamics") == 0
    assert "no item of the catalogue is near 'quantum" in capsys.readouterr().err
    assert command("recommend", wishing_run, "--instruction", " ") == 2
    assert "expected words" in capsys.readouterr().err


def test_wishes_over_http(wishing_run: Path, serve: Callable[..., Any]) -> None:
    with serve(wishing_run) as served, served.client() as client:
        assert client.get("/v1/run").json()["follows_instructions"] is True
        for body in ({"instruction": "green tea"}, {"user": "u1", "instruction": "green tea"}):
            answer = client.post("/v1/recommend", json=body).json()
            assert sum(kind_of(item["item"]) == 4 for item in answer["items"][:5]) >= 4
            assert answer["note"] is None
        far = client.post("/v1/recommend", json={"instruction": "quantum chromodynamics"}).json()
        assert "no item of the catalogue is near" in far["note"]
        body = {"user": "u1", "instruction": "green tea", "explain": True}
        for item in client.post("/v1/recommend", json=body).json()["items"]:  # parts of one
            parts = item["recommender"] + sum(why["share"] for why in item["because"])
            assert parts == pytest.approx(1, abs=1e-4)
            assert item["recommender"] >= 0
        empty = client.post("/v1/recommend", json={"history": ["i01"], "instruction": ""})
        assert empty.status_code == 422
        assert "expected words" in empty.json()["detail"]
        assert client.post("/v1/recommend", json={}).json()["detail"].endswith("instruction alone")


def test_wishes_are_read_where_searches_run(
    wishing_run: Path, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What encodes a wish must not hold up the requests that the event loop takes."""
    with serve(wishing_run) as served, served.client() as client:
        engine, threads = served.service.engine, []
        model, recommender = engine.model, engine.ranker.recommender

        def noted(work: Callable[..., Any]) -> Callable[..., Any]:
            def on_thread(*arguments: Any) -> Any:
                threads.append(threading.current_thread().name)
                return work(*arguments)

            return on_thread

        monkeypatch.setattr(model, "meets", noted(model.meets))
        monkeypatch.setattr(recommender, "encode", noted(recommender.encode))
        for explain in (False, True):
            body = {"user": "u1", "instruction": "some green tea", "explain": explain}
            client.post("/v1/recommend", json=body).raise_for_status()
        assert threads == ["search"] * 4  # each is looked at and read once, explained or not


def test_an_item_added_later_is_found_and_ruled_out_by_its_words(
    wishing_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(wishing_run, tmp_path / "run"))
    added = tmp_path / "new.csv"
    added.write_text("item,title\nn1,green tea with mint\nn2,violin strings\n")
    assert command("add-items", run, added) == 0
    engine = letterrec.load(run)
    assert "n2" in asked(engine, "strings for a violin", k=3)
    assert "n1" in asked(engine, "green tea with mint", k=3)
    assert "n1" not in asked(engine, "green tea, no mint", k=30)


def test_an_item_is_ruled_out_by_the_words_that_it_was_given_since(
    wishing_run: Path, tmp_path: Path
) -> None:
    engine = letterrec.load(shutil.copytree(wishing_run, tmp_path / "run"))
    assert "i07" in asked(engine, "no cedar wood", "i05", k=60)
    Editor(engine).make(ChangeItem("i07", text="its handle is of cedar wood"))
    for served in (engine, letterrec.load(engine.folder)):
        left = asked(served, "no cedar wood", "i05", k=60)
        assert "i07" not in left
        assert "i13" in left


def test_final_training_keeps_to_wishes(wishing_run: Path, tmp_path: Path) -> None:
    run = letterrec.refit(wishing_run, tmp_path / "refit", progress=False)
    engine = letterrec.load(run)
    found = asked(engine, "garden hose", "i05")
    assert sum(kind_of(item) == 1 for item in found) >= 4


@pytest.mark.parametrize(
    ("override", "error"),
    [("recommender.name=tiger", SettingsError), ("content.source=collaborative", DataError)],
)
def test_what_cannot_learn_wishes_is_refused_before_training(
    override: str, error: type[Exception], shop: Path, tmp_path: Path
) -> None:
    settings = letterrec.load_settings(None, ["wishes.enabled=true", override])
    with pytest.raises(error, match=r"wishes\.enabled: "):
        letterrec.fit(shop, tmp_path / "run", settings, progress=False)


def test_items_without_words_are_refused_before_training(tmp_path: Path) -> None:
    rows = [f"u{u},i{(u + step) % 9},{step}" for u in range(20) for step in range(6)]
    (tmp_path / "interactions.csv").write_text("\n".join(["user,item,timestamp", *rows]))
    (tmp_path / "items.csv").write_text(
        "\n".join(["item,title", *(f"i{i},Word{'abcdefghi'[i]}" for i in range(9))])
    )
    settings = letterrec.load_settings(None, ["wishes.enabled=true"])
    with pytest.raises(DataError, match="titles of one word"):
        letterrec.fit(tmp_path, tmp_path / "run", settings, progress=False)
