"""What a fit would take, told without one: nothing is written, and what it would refuse is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import letterrec
from command import letterrec as command
from conftest import SMALL, write_shop
from letterrec.errors import RunError
from letterrec.files import fingerprint
from letterrec.runs.run import Run
from letterrec.training import rehearsal

QUICK = {"training.epochs": 7, "training.batch_size": 50}
NO_TEXT = "content.source=collaborative"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is measured where little depends on it."""
    monkeypatch.setattr(rehearsal, "BUDGET", 0.05)


def contents(folder: Path) -> str:
    """What all files of a folder hold, and when they were written."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return fingerprint(tuple(f"{p} {p.stat().st_mtime_ns} {p.read_bytes()!r}" for p in files))


def test_a_baseline_is_estimated_and_nothing_is_written(shop: Path, tmp_path: Path) -> None:
    found = letterrec.estimate(shop, tmp_path / "run", QUICK, recipe="mf", progress=False)
    assert not list(tmp_path.iterdir())
    assert [stage["stage"] for stage in found["stages"]] == ["read", "recommender", "evaluation"]
    assert {stage["state"] for stage in found["stages"]} == {"to do"}
    (training,) = found["stages"][1]["trainings"]
    run = letterrec.fit(shop, tmp_path / "run", QUICK, recipe="mf", progress=False)
    log = run.training_log("recommender").epochs
    assert training["epochs"] == len(log) == 7
    assert training["validations"] == sum("valid/ndcg@10" in entry for entry in log)
    assert training["weights_bytes"] == sum(t.nbytes for t in run.weights().values())
    assert (found["users"], found["items"]) == (run.dataset().n_users, run.dataset().n_items)
    assert found["seconds"] == pytest.approx(sum(s["seconds"] for s in found["stages"]))
    assert all(math.isfinite(s["seconds"]) and s["seconds"] >= 0 for s in found["stages"])
    assert found["peak_bytes"] == max(s["peak_bytes"] for s in found["stages"])


@pytest.mark.slow
def test_what_is_done_is_kept_and_the_run_stays_as_it_is(tmp_path: Path) -> None:
    shop, out = write_shop(tmp_path / "shop"), tmp_path / "run"
    settings = letterrec.load_settings(None, [*SMALL, NO_TEXT, "tracker=none"])
    letterrec.fit(shop, out, settings, until="identifiers", progress=False)
    before = contents(out)
    found = letterrec.estimate(shop, out, settings, resume=True, progress=False)
    assert contents(out) == before
    states = {stage["stage"]: stage["state"] for stage in found["stages"]}
    assert states["collaborative"] == states["tokenizer"] == states["identifiers"] == "kept"
    assert states["recommender"] == states["transitions"] == states["evaluation"] == "to do"
    seconds = {stage["stage"]: stage["seconds"] for stage in found["stages"]}
    assert seconds["tokenizer"] == 0 < seconds["recommender"]
    other = letterrec.estimate(shop, None, settings, reuse=out, progress=False)
    assert {s["stage"]: s["state"] for s in other["stages"]}["tokenizer"] == "taken over"
    with pytest.raises(RunError, match="already holds a run; add --resume"):
        letterrec.estimate(shop, out, settings, progress=False)
    run = Run.open(out)
    assert not run.is_done("recommender")
    assert contents(out) == before


@pytest.mark.slow
def test_every_stage_of_a_default_run_is_estimated(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LETTERREC_CACHE", str(tmp_path / "cache"))
    changed = [part for setting in SMALL for part in ("--set", setting)]
    out = tmp_path / "run"
    assert command("fit", shop, "--out", out, "--dry-run", "--json", *changed) == 0
    found = json.loads(capsys.readouterr().out)
    assert not list(tmp_path.iterdir())  # neither a run nor cached embeddings
    trained = {s["stage"] for s in found["stages"] if s["trainings"]}
    assert trained == {"collaborative", "tokenizer", "recommender"}
    epochs = {s["stage"]: t["epochs"] for s in found["stages"] for t in s["trainings"]}
    assert epochs == {"collaborative": 4, "tokenizer": 4, "recommender": 6}


def test_what_a_fit_refuses_is_refused(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for given, said in (
        ([tmp_path / "gone", "--out", tmp_path / "run"], "gone"),
        ([shop, "--out", tmp_path / "file"], "is a file"),
        ([shop, "--out", tmp_path / "file" / "run"], "cannot be written"),
        ([shop, "--out", tmp_path / "run", "--set", "training.epochs=0"], "training.epochs"),
        ([shop, "--out", tmp_path / "run", "--set", "identifiers.source=given"], "index.json"),
        ([shop, "--out", tmp_path / "run", "--ray", "local"], "--dry-run is about this machine"),
    ):
        assert command("fit", *given, "--dry-run") == 2
        assert said in capsys.readouterr().err.splitlines()[-1]
    assert command("fit", shop, "--out", tmp_path / "run", "--json") == 2
    assert "--json goes with --dry-run" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


def test_it_is_shown_as_a_table(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [shop, "--out", tmp_path / "run", "--recipe", "mf", "--set", "training.epochs=3"]
    assert command("fit", *given, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "3 epochs at most" in shown
    assert "in all" in shown
    assert f"{tmp_path / 'run'} is as it was" in shown
