"""Runs pushed to a stand-in for the Hugging Face Hub by its own client, and loaded from there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import hub as stand_in
import letterrec
from conftest import write_shop
from letterrec.errors import RequestError, RunError
from letterrec.runs import hub
from letterrec.runs.run import Run

NAME = "me/shop-slist"
LOAD = """
import json, sys
import letterrec
engine = letterrec.load("me/shop-slist")
answer = engine.recommend([["i01", "i02"]], k=5)
print(json.dumps({"answer": answer, "folder": str(engine.folder)}))
"""


def client(home: Path, url: str, token: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a user of that Hub does: its client reads where it is when it is imported."""
    env = {
        **os.environ,
        "HF_ENDPOINT": url,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",  # the stand-in takes files by LFS
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, *words]
    return subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("hub")
    shop = write_shop(folder / "shop")
    more = {"evaluation.cuts": [20]}
    return letterrec.fit(shop, folder / "run", more, recipe="slist", progress=False)


@pytest.mark.slow
def test_a_run_goes_to_the_hub_and_comes_back(run: Run, tmp_path: Path) -> None:
    expected = letterrec.load(run).recommend([["i01", "i02"]], k=5)
    push = ("-m", "letterrec", "push", str(run.folder), NAME)
    with stand_in.serving() as there:
        pushed = client(tmp_path, there.url, there.token, *push)
        assert pushed.returncode == 0, pushed.stderr
        ((commit, files),) = there.repositories[NAME]
        assert commit in pushed.stdout
        assert there.private[NAME]
        assert there.objects, "no file was large enough for LFS"
        assert "run.json" in files
        assert not [p for p in files if p.startswith("training/") or p == "report.html"]
        loaded = client(tmp_path, there.url, there.token, "-c", LOAD)
        assert loaded.returncode == 0, loaded.stderr
        found = json.loads(loaded.stdout.splitlines()[-1])
        assert [tuple(pair) for pair in found["answer"][0]] == expected[0]
        assert commit in found["folder"]
        refused = client(tmp_path, there.url, "wrong", *push)
        assert refused.returncode == 2
        assert len(refused.stderr.strip().splitlines()) == 1
        assert "HF_TOKEN" in refused.stderr
    again = client(tmp_path, there.url, there.token, "-c", LOAD)  # the Hub is gone
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_the_card_has_metrics_settings_and_how_to_use_it(run: Run) -> None:
    from letterrec.runs.card import model_card

    card = model_card(run, NAME)
    front = yaml.safe_load(card.split("---")[1])
    assert "A baseline, which scores all items" in card
    assert "generative" not in card
    assert "pypi.org" not in card
    assert front["tags"] == ["recommendation"]
    assert front["library_name"] == "letterrec"
    metrics = run.metrics()["test"]["metrics"]
    results = front["model-index"][0]["results"][0]["metrics"]
    assert {m["type"]: m["value"] for m in results} == {
        name: pytest.approx(value, abs=1e-6) for name, value in metrics.items()
    }
    assert f"{metrics['recall@10']:.4f}" in card
    assert f'letterrec.load("{NAME}")' in card
    assert run.settings.to_toml().strip() in card
    assert f"| seed | {run.settings.seed} |" in card


@pytest.mark.slow
def test_only_a_refitted_run_is_said_to_have_learned_everything(run: Run, tmp_path: Path) -> None:
    from letterrec.runs.card import model_card

    refitted = letterrec.refit(run, tmp_path / "refitted", progress=False)
    assert "Trained on all interactions" in model_card(refitted, NAME)
    killed = Path(shutil.copytree(run.folder, tmp_path / "killed"))
    about = json.loads((killed / "run.json").read_text())
    del about["stages"]["evaluation"]
    (killed / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match="stage 'evaluation' is missing"):
        model_card(Run.open(killed), NAME)


def test_a_name_that_is_none_is_refused_in_a_line(run: Run) -> None:
    with pytest.raises(RequestError, match="None: expected USER/NAME"):
        letterrec.push(run, None)  # type: ignore[arg-type]


def test_which_texts_name_a_run_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert hub.is_name("me/shop")
    for text in ("runs/first", "shop", "a/b/c", "./me", "/me/shop", "me/", "../me"):
        assert not hub.is_name(text), text


@pytest.mark.slow
def test_a_name_that_is_none_is_refused(run: Run) -> None:
    with pytest.raises(RequestError, match="expected USER/NAME"):
        hub.push(run, "shop")
