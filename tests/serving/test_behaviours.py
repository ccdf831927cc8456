"""A run on interactions of several behaviours: Python, command line, server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from fastapi.testclient import TestClient

import letterrec
from behaviours import N_ITEMS, write_shop
from command import letterrec as command
from letterrec.errors import RequestError
from letterrec.runs.run import Run
from letterrec.serving.engine import Engine
from letterrec.serving.fleet import Fleet
from letterrec.serving.http.app import create_app
from letterrec.serving.queries import Query
from letterrec.serving.service import Service

QUICK = [
    "data.targets=['buy']",
    "content.source=collaborative",
    "collaborative.training.epochs=2",
    "tokenizer.training.epochs=3",
    "tokenizer.codes=8",
    "tokenizer.levels=2",
    "tokenizer.hidden=[32]",
    "training.epochs=8",
    "training.batch_size=64",
    "training.learning_rate=0.01",
    "recommender.dim=32",
    "recommender.dropout=0.05",
    "evaluation.beam=12",
    "evaluation.cuts=[1]",
]


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("data") / "shop")


@pytest.fixture(scope="module")
def run(ring: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    letterrec.fit(ring, folder, settings=letterrec.load_settings(overrides=QUICK), progress=False)
    return folder


@pytest.fixture(scope="module")
def engine(run: Path) -> Engine:
    return letterrec.load(run)


pytestmark = pytest.mark.slow


def test_what_is_bought_next_is_found(run: Path, engine: Engine) -> None:
    assert letterrec.evaluate(run, progress=False)["metrics"]["recall@1"] >= 0.8
    assert engine.model.reads_behaviours

    def best(behaviours: list[str], asked: str | None) -> str:
        (answer,) = engine.recommend(
            [["i2", "i3"]], k=1, behaviours=[behaviours], behaviour=asked, exclude_seen=False
        )
        return answer[0][0]

    assert best(["buy", "buy"], None) == best(["buy", "buy"], "buy") == "i4"
    assert best(["view", "view"], "buy") == "i9"
    assert best(["buy", "buy"], "view") == "i9"


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ("i2", "histories is a list of lists of item ids; a string"),
        (5, "histories is a list of lists of item ids; int"),
        ({"i2", "i3"}, "a history is in order, oldest first; a set"),
    ],
)
def test_a_history_with_behaviours_is_checked_as_any(
    engine: Engine, history: Any, words: str
) -> None:
    for behaviours in (None, [["buy", "buy"]]):
        with pytest.raises(RequestError, match=words):
            engine.recommend([history], behaviours=behaviours)


def test_what_was_viewed_may_be_bought(engine: Engine) -> None:
    history = [f"i{n}" for n in range(N_ITEMS)]
    kinds = ["buy"] * 4 + ["view"] * 8

    def left(asked: str | None) -> set[str]:
        (answer,) = engine.recommend([history], N_ITEMS, behaviours=[kinds], behaviour=asked)
        return {item for item, _ in answer}

    assert left(None) == left("buy") == set(history[4:])
    assert left("view") == set(history[:4])


def test_a_user_is_known_with_his_behaviours(run: Path, engine: Engine) -> None:
    history, kinds = engine.history_of("u3"), engine.behaviours_of("u3")
    assert kinds is not None
    assert len(kinds) == len(history) == 6
    assert set(kinds) <= {"buy", "view"}


def test_the_command_line_asks_for_a_behaviour(
    run: Path, engine: Engine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def asked(*arguments: str) -> list[str]:
        assert command("recommend", run, "-k", "3", "--json", *arguments) == 0
        return [item["item"] for item in json.loads(capsys.readouterr().out)["items"]]

    history = [engine.history_of("u3")]
    kinds = [engine.behaviours_of("u3")]
    for name in ("buy", "view"):
        (answer,) = engine.recommend(history, 3, behaviours=kinds, behaviour=name)
        assert asked("--user", "u3", "--behaviour", name) == [item for item, _ in answer]
    one = asked("--history", "i2,i3", "--behaviours", "buy,buy")
    assert one != asked("--history", "i2,i3", "--behaviours", "buy,view")

    capsys.readouterr()
    for arguments, said in (
        (["--user", "u3", "--behaviour", "wish"], "expected one of 'buy', 'view'"),
        (["--history", "i2,i3", "--behaviours", "buy"], "1 names for a history of 2 items"),
        (["--user", "u3", "--behaviours", "buy"], "--behaviours goes with --history"),
    ):
        assert command("recommend", run, *arguments) == 2
        error = capsys.readouterr().err.strip()
        assert said in error
        assert "\n" not in error
    out = tmp_path / "all.jsonl"
    assert command("recommend", run, "--all-users", "--out", out, "--behaviour", "wish") == 2
    assert "expected one of 'buy', 'view'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert command("recommend", run, "--all-users", "--out", out, "--behaviour", "view") == 0
    first = [json.loads(line) for line in out.read_text().splitlines()][:3]
    (answer,) = engine.recommend(
        [engine.history_of("u0")],
        3,
        behaviours=[engine.behaviours_of("u0")],
        behaviour="view",
    )
    assert [line["item"] for line in first] == [item for item, _ in answer]


def test_each_behaviour_is_evaluated(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def measured(*arguments: str) -> dict[str, Any]:
        assert command("evaluate", run, "--json", *arguments) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    targets, buys, views = (
        measured(*a) for a in ((), ("--behaviour", "buy"), ("--behaviour", "view"))
    )
    assert buys["metrics"] == targets["metrics"]  # the one target is what is asked for
    assert (buys["behaviour"], views["behaviour"]) == ("buy", "view")
    assert 0 < views["users"] < buys["users"]  # who viewed after buying
    assert views["metrics"]["recall@1"] >= 0.8
    python = letterrec.evaluate(run, behaviour="view", progress=False)
    assert python["metrics"] == views["metrics"]
    assert command("evaluate", run, "--behaviour", "view", "--by", "history") == 0
    assert "asked for 'view'" in capsys.readouterr().out
    for wrong, said in (("wish", "expected one of 'buy', 'view'"), ("", "expected one of")):
        assert command("evaluate", run, "--behaviour", wrong) == 2
        error = capsys.readouterr().err.strip()
        assert said in error
        assert "\n" not in error
    with pytest.raises(RequestError, match="expected one of 'buy', 'view'"):
        letterrec.evaluate(run, behaviour=3, progress=False)  # type: ignore[arg-type]


def test_the_next_behaviour_is_shown(
    run: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    history, kinds = engine.history_of("u3"), engine.behaviours_of("u3")
    first, nothing = engine.next_behaviours([history, []], behaviours=[kinds, []])
    assert first is not None
    assert set(first) == {"buy", "view"}
    assert sum(first.values()) == pytest.approx(1)
    assert nothing is None
    assert command("recommend", run, "--user", "u3", "--json") == 0
    assert json.loads(capsys.readouterr().out)["next_behaviour"] == pytest.approx(first, abs=1e-5)
    assert command("recommend", run, "--user", "u3") == 0
    assert f"the next item comes by: buy {first['buy']:.0%}" in capsys.readouterr().out
    service = Service(lambda: letterrec.load(run))
    with TestClient(create_app(Fleet.of(service))) as client:
        answer = client.post("/v1/recommend", json={"user": "u3", "explain": True}).json()
        assert answer["next_behaviour"] == pytest.approx(first, abs=1e-5)
        plain = client.post("/v1/recommend", json={"user": "u3"}).json()
        assert plain["next_behaviour"] is None


def test_embeddings_of_users_are_of_what_they_did(run: Path, tmp_path: Path) -> None:
    assert command("export", run, "--embeddings", "--out", tmp_path / "out") == 0
    users, items = (
        np.array(pl.read_parquet(tmp_path / "out" / f"{kind}.collaborative.parquet")["embedding"])
        for kind in ("users", "items")
    )
    opened = Run.open(run)
    dataset = opened.dataset()
    events = dataset.interactions.events(2).padded(opened.settings.data.max_history)
    scores = opened.sasrec(dataset).scores(torch.from_numpy(events)).numpy()
    np.testing.assert_allclose(np.stack(users) @ np.stack(items).T, scores, atol=1e-3)


def test_the_server_asks_for_a_behaviour(run: Path, engine: Engine) -> None:
    service = Service(lambda: letterrec.load(run))
    with TestClient(create_app(Fleet.of(service))) as client:
        assert client.get("/v1/run").json()["behaviours"] == ["buy", "view"]
        assert client.get("/v1/run").json()["targets"] == ["buy"]
        assert client.get("/v1/run").json()["reads_behaviours"] is True
        body = {"history": ["i2", "i3"], "behaviours": ["buy", "view"], "explain": True}
        for name in (None, "buy", "view"):
            answer = client.post("/v1/recommend", json={**body, "behaviour": name, "k": 3}).json()
            (own,) = engine.recommend(
                [["i2", "i3"]], 3, behaviours=[["buy", "view"]], behaviour=name
            )
            assert [item["item"] for item in answer["items"]] == [item for item, _ in own]
            assert answer["behaviours"] == ["buy", "view"]
        of_user = client.post("/v1/recommend", json={"user": "u3", "explain": True}).json()
        assert of_user["behaviours"] == engine.behaviours_of("u3")
        for wrong in ({"behaviour": "wish"}, {"behaviours": ["buy"]}, {"behaviours": ["buy", 3]}):
            refused = client.post("/v1/recommend", json={**body, **wrong})
            assert refused.status_code == 422
            assert "\n" not in refused.json()["detail"]


@pytest.mark.parametrize("name", ["sasrec", "popularity"])
def test_a_baseline_learns_the_targets_alone(name: str, ring: Path, tmp_path: Path) -> None:
    settings = ["data.targets=['buy']", f"recommender.name={name}", "training.epochs=1"]
    if name == "popularity":
        settings.pop()
    chosen = letterrec.load_settings(overrides=settings)
    letterrec.fit(ring, tmp_path / "run", settings=chosen, progress=False)
    engine = letterrec.load(tmp_path / "run")
    (one,) = engine.recommend([["i2", "i3"]], 5, behaviours=[["buy", "view"]])
    (other,) = engine.recommend([["i2"]], 5)
    assert [item for item, _ in one] == [item for item, _ in other]
    assert engine.recommend([["i2"]], 5, behaviour="buy") == [other]
    with pytest.raises(RequestError, match="ranks for 'buy' alone"):
        engine.recommend([["i2"]], behaviour="view")


def test_a_baseline_of_several_targets_is_asked_for_none_of_them(
    ring: Path, tmp_path: Path
) -> None:
    letterrec.fit(ring, tmp_path / "run", recipe="popularity", progress=False)
    engine = letterrec.load(tmp_path / "run")
    for name in ("buy", "view"):
        with pytest.raises(RequestError, match="ranks for 'buy' and 'view', told apart by nothing"):
            engine.recommend([["i2"]], behaviour=name)
    with TestClient(create_app(Fleet.of(Service(lambda: engine)))) as client:
        info = client.get("/v1/run").json()  # of which the page makes what can be asked for
    assert (info["behaviours"], info["reads_behaviours"]) == (["buy", "view"], False)


def test_what_is_viewed_before_it_is_bought_is_no_coming_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for items, is_told in ((4, False), (2, True)):  # of each user; two are bought twice
        lines = ["user,item,timestamp,behaviour"]
        for user in range(8):
            for step in range(4):
                row = f"u{user},i{(user + step % items) % 6},{step}"
                lines += [f"{row}0,view", f"{row}1,buy"]
        source = tmp_path / f"log{items}.csv"
        source.write_text("\n".join(lines) + "\n")
        chosen = ["--set", "data.k_core=0", "--set", "data.targets=['buy']"]
        out = ("--out", tmp_path / f"run{items}", "--recipe", "popularity")
        assert command("fit", source, *out, *chosen) == 0
        assert ("people come back to what they had" in capsys.readouterr().out) is is_told


def test_odds_of_behaviours_are_worked_out_together(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = [["i2", "i3"], [], ["i4"], ["i5", "i6", "i7"]]
    kinds = [["buy", "view"], [], ["view"], ["buy", "buy", "view"]]
    alone = [engine.next_behaviours([h], [b])[0] for h, b in zip(histories, kinds, strict=True)]
    asked: list[int] = []
    predict = engine.model.next_behaviours
    monkeypatch.setattr(
        engine.model,
        "next_behaviours",
        lambda histories: (asked.append(len(histories)), predict(histories))[1],
    )
    together = engine.next_behaviours(histories, kinds)
    queries = [Query(h, behaviours=b, explain=True) for h, b in zip(histories, kinds, strict=True)]
    answered = engine.answered([engine.prepare(query) for query in queries])
    assert asked == [3, 3]
    for found in (together, [answer.next_behaviour for answer in answered]):
        assert found[1] is None
        assert [found[i] for i in (0, 2, 3)] == [
            pytest.approx(alone[i], abs=1e-5) for i in (0, 2, 3)
        ]


def test_a_run_of_one_kind_of_interaction_knows_no_behaviour(shop_run: Path) -> None:
    with pytest.raises(RequestError, match="one kind of interaction"):
        letterrec.evaluate(shop_run, behaviour="buy", progress=False)
    with pytest.raises(RequestError, match="does not predict behaviours"):
        letterrec.load(shop_run).next_behaviours([["i05"]])
    engine = letterrec.load(shop_run)
    with pytest.raises(RequestError, match="knows one kind of interaction"):
        engine.recommend([["i05"]], behaviour="buy")
    with pytest.raises(RequestError, match="knows one kind of interaction"):
        engine.recommend([["i05"]], behaviours=[["buy"]])
    assert np.isfinite([score for _, score in engine.recommend([["i05"]], 3)[0]]).all()
