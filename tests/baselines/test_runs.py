"""A run of each baseline: fitted, measured, asked, edited, and refused what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import letterrec
from command import letterrec as command
from letterrec.baselines import BASELINES
from letterrec.config.loading import recipes
from letterrec.errors import RequestError, SettingsError
from letterrec.runs.run import Run
from letterrec.serving.queries import Query
from rings import write_rings

pytestmark = pytest.mark.slow
QUICK = {"training.epochs": 1, "training.batch_size": 64, "evaluation.batch_size": 16}


@pytest.fixture(scope="module")
def rings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rings(tmp_path_factory.mktemp("rings")) / "Beauty"


@pytest.fixture(scope="module")
def mf(rings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mf"
    settings = {**QUICK, "recommender.known_users": True}
    letterrec.fit(rings, folder, settings, recipe="mf", progress=False)
    return folder


@pytest.mark.parametrize("name", BASELINES)
def test_a_run_ranks_as_it_was_measured(name: str, rings: Path, tmp_path: Path) -> None:
    assert name in recipes()
    run = letterrec.fit(rings, tmp_path / "run", QUICK, recipe=name, progress=False)
    assert list(run.about["stages"]) == ["read", "recommender", "evaluation"]
    kept = run.metrics()["test"]
    assert "beam" not in kept
    again = letterrec.evaluate(run, progress=False)
    assert again["metrics"] == pytest.approx(kept["metrics"], abs=0.05)  # two of 40 users
    engine = letterrec.load(run)
    assert engine.dataset.n_items == 30
    (answer,) = engine.recommend([["3", "4"]], k=40)
    assert len({item for item, _ in answer} - {"3", "4"}) == len(answer) == 28
    scores = [score for _, score in answer]
    assert scores == sorted(scores, reverse=True)
    assert not any(np.isnan(scores))


def test_a_user_of_the_run_is_known(mf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = letterrec.load(mf)
    answers = []
    history = engine.history_of("7")
    for arguments in (["--user", "7"], ["--history", ",".join(history)]):
        assert command("recommend", mf, *arguments, "--json") == 0
        answers.append(json.loads(capsys.readouterr().out)["items"])
    own, folded = ({line["item"]: line["score"] for line in answer} for answer in answers)
    assert own != folded
    alone = engine.recommend([history])[0]
    assert folded == pytest.approx(dict(alone), rel=1e-4)


def test_items_can_be_blocked_and_none_added(
    rings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    letterrec.fit(rings, folder, QUICK, recipe="popularity", progress=False)
    ((first, _),) = letterrec.load(folder).recommend([["3"]], k=1)[0:1][0]
    assert command("edit-items", folder, "--block", first) == 0
    engine = letterrec.load(folder)
    assert first not in dict(engine.recommend([["3"]], k=30)[0])
    assert engine.catalogue.count("blocked") == 1
    items = tmp_path / "new.csv"
    items.write_text("item,title\nnew,A new thing\n")
    capsys.readouterr()
    assert command("add-items", folder, items) == 2
    assert "cannot take new items" in capsys.readouterr().err


def test_what_a_baseline_cannot_do_is_refused(mf: Path, rings: Path, tmp_path: Path) -> None:
    engine = letterrec.load(mf)
    with pytest.raises(RequestError, match="no beam"):
        letterrec.evaluate(mf, beam=5)
    with pytest.raises(RequestError, match="no beam"):
        engine.recommend([["1"]], beam=5)
    with pytest.raises(RequestError, match="instructions"):
        engine.recommend([["1"]], instruction="something red")
    with pytest.raises(RequestError, match="no language model"):
        engine.model.export(tmp_path)
    with pytest.raises(SettingsError, match=r"transitions\.enabled=false"):
        letterrec.fit(
            rings, tmp_path / "t", {"transitions.enabled": True}, recipe="mf", progress=False
        )


def test_people_see_what_it_is(mf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("inspect", mf) == 0
    assert "users.weight" in capsys.readouterr().out
    assert command("evaluate", mf) == 0
    assert "by score" in capsys.readouterr().out
    assert command("report", mf) == 0
    page = (mf / "report.html").read_text("utf-8")
    assert "Full ranking by score" in page
    assert "<h2>Identifiers" not in page


def test_it_goes_on_where_it_was(rings: Path, tmp_path: Path) -> None:
    settings = {**QUICK, "training.epochs": 2}
    letterrec.fit(rings, tmp_path, settings, recipe="hgn", progress=False)
    ranks = Run.open(tmp_path).ranks("test")
    about = json.loads((tmp_path / "run.json").read_text())
    del about["stages"]["evaluation"], about["stages"]["recommender"]
    (tmp_path / "run.json").write_text(json.dumps(about))
    again = letterrec.fit(rings, tmp_path, settings, True, recipe="hgn", progress=False)
    assert np.array_equal(again.ranks("test"), ranks)


def test_it_is_served(mf: Path) -> None:
    from fastapi.testclient import TestClient

    from letterrec.serving.fleet import Fleet
    from letterrec.serving.http.app import create_app
    from letterrec.serving.service import Service

    engine = letterrec.load(mf)
    service = Service(lambda: letterrec.load(mf))
    with TestClient(
        create_app(Fleet.of(service), deadline=60.0), base_url="http://127.0.0.1"
    ) as client:
        body = {"history": ["3", "4"], "k": 3, "explain": True}
        items = client.post("/v1/recommend", json=body).raise_for_status().json()["items"]
        expected = dict(engine.recommend([["3", "4"]], k=3)[0])
        assert {line["item"]: line["score"] for line in items} == pytest.approx(expected, rel=1e-4)
        assert all(line["log_probability"] is None for line in items)
        of_user = client.post("/v1/recommend", json={"user": "7", "k": 30}).json()["items"]
        (known,) = engine.answer_ids([engine.prepare(Query(engine.history_of("7"), 30, user="7"))])
        assert {line["item"]: line["score"] for line in of_user} == pytest.approx(
            dict(known), rel=1e-4
        )
        run = client.get("/v1/run").raise_for_status().json()
        assert (run["recommender"], run["levels"]) == ("mf", [])
        item = client.get("/v1/items/3").raise_for_status().json()
        assert (item["identifier"], item["codes"], item["neighbours"]) == ("", [], [])
        assert client.get("/v1/tree").json()["children"] == []
        assert client.get("/v1/map", params={"of": "codes", "level": 1}).status_code == 404
