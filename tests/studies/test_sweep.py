"""The sweep: which settings are tried, which go on, what is selected and what is read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command import letterrec
from letterrec.config.loading import load_settings
from letterrec.errors import SettingsError
from letterrec.runs.run import Run
from letterrec.studies.sweep import Point, _ladder, _points, _ranked, sweep, sweep_sheet
from rings import QUICK

OVER = ["tokenizer.alpha=0,0.02,0.5", "tokenizer.levels=1,4"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def swept(data: Path, out: Path) -> dict[str, Any]:
    return sweep(str(data / "Beauty"), out, over=OVER, epochs=[1, 2], overrides=QUICK)


def test_each_setting_is_tried_once(swept: dict[str, Any]) -> None:
    names = [point["name"] for point in swept["points"]]
    # alpha 0.02 and four levels are the base
    assert names == ["base", "tokenizer.alpha=0", "tokenizer.alpha=0.5", "tokenizer.levels=1"]
    assert swept["base"] == {"tokenizer.alpha": 0.02, "tokenizer.levels": 4}


def test_what_cannot_be_run_is_skipped(swept: dict[str, Any]) -> None:
    skipped = swept["points"][3]
    assert "code space" in skipped["skipped"]  # 8 codes on one level for 30 items
    assert skipped["rungs"] == []
    assert ["tokenizer.levels=1", "skipped", *[""] * 5] in sweep_sheet(swept).rows


def test_the_better_half_and_the_base_go_on(swept: dict[str, Any]) -> None:
    points = {p["name"]: p for p in swept["points"] if not p["skipped"]}
    first = {n: p["rungs"][0]["valid"][swept["criterion"]] for n, p in points.items()}
    second = {name for name, point in points.items() if len(point["rungs"]) == 2}
    kept = sorted(first, key=lambda name: -first[name])[:2]
    assert second == {*kept, "base"}
    assert [rung["epochs"] for rung in points["base"]["rungs"]] == [1, 2]


def test_selection_is_on_validation(swept: dict[str, Any]) -> None:
    last = {
        p["name"]: p["rungs"][-1]["valid"][swept["criterion"]]
        for p in swept["points"]
        if len(p["rungs"]) == 2
    }
    assert last[swept["best"]] == max(last.values())


def test_identifiers_are_learned_once(out: Path, swept: dict[str, Any]) -> None:
    stages = Run.open(out / "2-epochs" / "base").about["stages"]
    assert stages["identifiers"]["from"] == str(out / "1-epochs" / "base")


def test_a_finished_sweep_is_only_read(
    data: Path, out: Path, swept: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.rglob("metrics.json")}
    arguments = [part for text in OVER for part in ("--over", text)]
    arguments += [part for text in QUICK for part in ("--set", text)]
    arguments += ["--out", str(out), "--epochs", "1,2", "--json"]
    assert letterrec("sweep", str(data / "Beauty"), *arguments) == 0
    assert json.loads(capsys.readouterr().out) == swept
    assert json.loads((out / "sweep.json").read_text()) == swept
    assert {path: path.stat().st_mtime_ns for path in out.rglob("metrics.json")} == before


def test_test_metrics_of_the_best_and_the_base_alone(swept: dict[str, Any]) -> None:
    for row in sweep_sheet(swept).rows:
        assert (row[-1] != "") == (row[0] in ("base", swept["best"]))


@pytest.mark.slow
def test_sasrec_is_swept_alike(data: Path, tmp_path: Path) -> None:
    result = sweep(
        str(data / "Beauty"), tmp_path, over=["collaborative.dim=16"], epochs=[1], model="sasrec"
    )
    assert [p["name"] for p in result["points"]] == ["base", "collaborative.dim=16"]
    assert all(p["rungs"][0]["epochs"] == 1 for p in result["points"])
    assert Run.open(tmp_path / "1-epochs" / "base").settings.collaborative.training.epochs == 1


def test_the_default_grid_is_the_papers() -> None:
    from letterrec.studies.sweep import _default_grid

    grid = _default_grid("generative", load_settings())
    assert set(grid) == {
        *(f"tokenizer.{key}" for key in ("levels", "codes", "alpha", "beta", "clusters")),
        "recommender.temperature",
    }
    assert len(_points(grid, load_settings(), None, [])) > 15
    assert set(_default_grid("generative", load_settings("rqkmeans"))) == {
        "tokenizer.levels",
        "tokenizer.codes",
        "recommender.temperature",
    }
    of_training = {"training.learning_rate", "training.weight_decay"}
    own = {f"recommender.{key}" for key in ("dim", "window", "dropout")}
    assert set(_default_grid("generative", load_settings("hgn"))) == own | of_training


def test_the_papers_ranges_are_tried_on_the_papers_recipe(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where alpha weighs what it weighs in the paper."""
    monkeypatch.setattr("letterrec.studies.sweep._GRIDS", {"generative": {"tokenizer.codes": (8,)}})
    result = sweep(str(data / "Beauty"), tmp_path / "paper", epochs=[1], overrides=QUICK)
    run = Run.open(tmp_path / "paper" / "1-epochs" / "base")
    assert result["base"] == {"tokenizer.codes": 8}
    assert run.settings.tokenizer.selection == "collisions"
    assert not run.settings.recommender.use_content
    assert load_settings(None).tokenizer.selection == "score"


def test_the_ladder() -> None:
    assert _ladder([], 16) == [4, 16]
    assert _ladder([], 1) == [1]
    assert _ladder([3, 9], 16) == [3, 9]
    with pytest.raises(SettingsError, match="rising"):
        _ladder([9, 3], 16)


def test_who_climbed_higher_ranks_higher() -> None:
    def point(name: str, *values: float) -> Point:
        return Point(name, [], [{"valid": {"ndcg@10": value}} for value in values])

    points = [point("a", 0.9), point("b", 0.1, 0.2), point("c", 0.1, 0.3)]
    assert [p.name for p in _ranked(points, "ndcg@10")] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ("tokenizer.alpha", "section.key=value,value"),
        ("tokenizer.alpa=1", "does not exist"),
        ("training.epochs=1,2", "--epochs"),
    ],
)
def test_wrong_grids_are_explained(data: Path, tmp_path: Path, over: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        sweep(str(data / "Beauty"), tmp_path, over=[over])
    assert not list(tmp_path.iterdir())
