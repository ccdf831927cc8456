"""The sweep: what is tried, shared and selected; several workers, and one that is killed."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from command import letterrec
from letterrec.config.loading import load_settings
from letterrec.errors import LetterRecError, RunError, SettingsError
from letterrec.progress import Terminal
from letterrec.runs.run import Run
from letterrec.studies.findings import Swept, found_in, sweep_sheet
from letterrec.studies.sweep import sweep
from rings import QUICK


def study_in(out: Path) -> optuna.Study:
    """As somebody else opens it."""
    return optuna.load_study(study_name="sweep", storage=f"sqlite:///{out / 'study.db'}")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def swept(data: Path, out: Path) -> Swept:
    over = ["tokenizer.levels=1,4", "transitions.window=5,20", "training.learning_rate=1e-3,2e-3"]
    options = {"over": over, "overrides": QUICK, "one_at_a_time": True}
    return sweep(str(data / "Beauty"), out, **options)


def test_each_value_is_tried_once_beside_the_recipe(swept: Swept) -> None:
    assert [tried["settings"] for tried in swept["trials"]] == [
        {},
        {"tokenizer.levels": 1},
        {"transitions.window": 5},
        {"training.learning_rate": 0.001},
    ]
    assert swept["base"] == {
        "tokenizer.levels": 4,
        "transitions.window": 20,
        "training.learning_rate": 0.002,
    }


def test_the_recipe_is_tuned_as_it_is(swept: Swept) -> None:
    for tried in swept["trials"]:
        if tried["state"] == "complete":
            run = Run.open(Path(tried["run"]))
            assert run.settings.transitions.enabled
            assert run.is_done("transitions")


def test_what_cannot_be_run_is_skipped(swept: Swept) -> None:
    skipped = swept["trials"][1]
    assert skipped["state"] == "fail"
    assert "code space" in skipped["error"]  # 8 codes on one level for 30 items
    assert "1 skipped: " in sweep_sheet(swept).note


def test_what_is_shared_is_learned_once(swept: Swept) -> None:
    recipe = swept["trials"][0]["run"]
    for tried in swept["trials"][2:]:
        stages = Run.open(Path(tried["run"])).about["stages"]
        assert stages["collaborative"]["from"].startswith(str(Path(recipe).parent))
        assert stages["identifiers"]["from"].startswith(str(Path(recipe).parent))
    window = Run.open(Path(swept["trials"][2]["run"])).about["stages"]
    assert "from" in window["recommender"]  # transitions alone are others


def test_selection_is_on_validation(out: Path, swept: Swept) -> None:
    values = {t["number"]: t["value"] for t in swept["trials"] if t["value"] is not None}
    assert values[swept["best"]] == max(values.values())
    for number, value in values.items():
        run = Run.open(Path(swept["trials"][number]["run"]))
        assert run.metrics()["valid"]["metrics"][swept["criterion"]] == value
    study = study_in(out)
    assert (study.best_trial.number, study.best_value) == (swept["best"], values[swept["best"]])
    assert set(swept["test"]) == {"best", "recipe"}


def test_the_best_is_a_recipe(out: Path, swept: Swept) -> None:
    best = Run.open(Path(swept["trials"][swept["best"]]["run"])).settings
    assert load_settings(swept["recipe"]) == best
    words = shlex.split(swept["set"])
    overrides = [word for before, word in pairwise(words) if before == "--set"]
    assert load_settings(None, overrides) == best


def test_a_finished_sweep_is_only_read(
    data: Path, out: Path, swept: Swept, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.rglob("metrics.json")}
    arguments = [
        part for key in swept["space"] for part in ("--over", f"{key}={_list(swept, key)}")
    ]
    arguments += [part for text in QUICK for part in ("--set", text)]
    arguments += ["--out", str(out), "--one-at-a-time", "--json"]
    assert letterrec("sweep", str(data / "Beauty"), *arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert letterrec("sweep", str(data / "Beauty"), *arguments, "--resume") == 0
    assert json.loads(capsys.readouterr().out) == swept
    assert json.loads((out / "sweep.json").read_text()) == swept
    assert {path: path.stat().st_mtime_ns for path in out.rglob("metrics.json")} == before


def _list(swept: Swept, key: str) -> str:
    values = swept["space"][key]
    assert isinstance(values, list)
    return ",".join(str(value) for value in values)


def test_the_table_has_80_columns(swept: Swept) -> None:
    terminal = Terminal(width=200, record=True, file=Console(quiet=True).file)
    sweep_sheet(swept).print(terminal, width=80)
    lines = terminal.export_text().splitlines()
    assert max(len(line) for line in lines) <= 80
    text = " ".join(" ".join(lines).split())
    assert "the recipe as it is" in text
    assert "learning_rate 0.001" in text


@pytest.mark.slow
def test_epochs_tell_who_falls_behind(data: Path, tmp_path: Path) -> None:
    """Of two learning rates the one that learns nothing is stopped."""
    quick = [text for text in QUICK if text.startswith("training.batch")]
    result = sweep(
        str(data / "Beauty"),
        tmp_path,
        recipe="hgn",
        over=["training.learning_rate=0.02,0.0000001"],
        overrides=[
            *quick,
            "training.epochs=8",
            "training.patience=8",
            "training.learning_rate=0.02",
        ],
        sampler="random",
        trials=12,
    )
    slow = [t for t in result["trials"] if t["settings"].get("training.learning_rate") == 1e-7]
    assert {t["state"] for t in slow[2:]} == {"pruned"}
    assert result["trials"][0]["state"] == "complete"
    assert len(result["trials"][0]["epochs"]) == 8
    assert all(0 < len(t["epochs"]) < 8 for t in slow if t["state"] == "pruned")
    study = study_in(tmp_path)
    assert study.trials[0].intermediate_values.keys() == set(range(1, 9))


@pytest.mark.slow
def test_two_workers_and_one_that_is_killed(data: Path, tmp_path: Path) -> None:
    """A process that is killed within a trial leaves it to the two that go on."""
    source, out = str(data / "Beauty"), tmp_path / "out"
    long = ["training.epochs=60", "training.patience=60"]
    command = f"sweep {source} --out {out} --recipe hgn --over recommender.dim=8,16"
    words = [sys.executable, "-m", "letterrec", *command.split(), "--trials", "3"]
    words += ["--pruner", "none", *(word for text in long for word in ("--set", text))]
    killed = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    with killed:
        while not _has_begun(out):
            assert killed.poll() is None
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
    result = sweep(
        source,
        out,
        recipe="hgn",
        over=["recommender.dim=8,16"],
        overrides=long,
        trials=3,
        workers=2,
        pruner="none",
        resume=True,
    )
    states = [t["state"] for t in result["trials"]]
    assert sorted(states) == ["complete", "complete", "complete", "fail"]
    lost, again = result["trials"][states.index("fail")], result["trials"][3]
    assert (again["settings"], again["run"]) == (lost["settings"], lost["run"])
    assert list(again["epochs"]) == [str(epoch) for epoch in range(1, 61)]
    assert {**again["epochs"], **lost["epochs"]} == again["epochs"]


def _has_begun(out: Path) -> bool:
    """Whether the first trial has been told of an epoch."""
    is_training = any(out.glob("runs/*/training/recommender/tensorboard/*"))
    return is_training and bool(study_in(out).trials[0].intermediate_values)


@pytest.mark.slow
def test_trials_can_be_added(data: Path, tmp_path: Path) -> None:
    given = {"recipe": "ease", "sampler": "random"}
    first = sweep(str(data / "Beauty"), tmp_path, **given, trials=2)
    more = sweep(str(data / "Beauty"), tmp_path, **given, trials=3, resume=True)
    assert more["trials"][:2] == first["trials"]
    assert len(more["trials"]) == 3
    again = sweep(str(data / "Beauty"), tmp_path / "again", **given, trials=3)
    assert [t["settings"] for t in again["trials"]] == [t["settings"] for t in more["trials"]]


def test_a_sweep_without_time_says_what_is_left(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--resume"):
        sweep(str(data / "Beauty"), tmp_path, recipe="ease", timeout=0.0)
    assert all(t.state is optuna.trial.TrialState.WAITING for t in study_in(tmp_path).trials)


def test_what_has_nothing_to_tune_is_measured(data: Path, tmp_path: Path) -> None:
    result = sweep(str(data / "Beauty"), tmp_path, recipe="popularity")
    assert [t["state"] for t in result["trials"]] == ["complete"]
    assert result["best"] == 0


def test_another_sweep_is_refused(data: Path, tmp_path: Path) -> None:
    given = {"recipe": "ease", "sampler": "grid", "resume": True}
    sweep(str(data / "Beauty"), tmp_path, over=["recommender.ridge=1"], **given)
    with pytest.raises(RunError, match=r"recommender\.ridge"):
        sweep(str(data / "Beauty"), tmp_path, over=["recommender.ridge=2"], **given)
    run = next((tmp_path / "runs").iterdir())
    with pytest.raises(RunError, match="holds a run"):
        sweep(str(data / "Beauty"), run, over=["recommender.ridge=2"], **given)
    (tmp_path / "study.db").write_text("no database")
    with pytest.raises(RunError, match="damaged"):
        found_in(tmp_path)
    with pytest.raises(RunError, match="holds no sweep"):
        found_in(run)


def test_a_recipe_that_cannot_be_run_leaves_no_study(data: Path, tmp_path: Path) -> None:
    with pytest.raises(LetterRecError, match="code space"):
        sweep(str(data / "Beauty"), tmp_path, overrides=[*QUICK, "tokenizer.levels=1"])
    assert not (tmp_path / "study.db").exists()


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ("tokenizer.alpha", "LOW..HIGH"),
        ("tokenizer.alpa=1", "does not exist"),
        ("recommender.dropout=0.1,many", "recommender.dropout"),
        ("recommender.dropout=0.5..0.1", "low <= high"),
        ("recommender.dropout=0..0.5:log", "above 0"),
        ("evaluation.criterion=ndcg@10,recall@10", "same for all"),
    ],
)
def test_wrong_spaces_are_explained(data: Path, tmp_path: Path, over: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        sweep(str(data / "Beauty"), tmp_path / "out", over=[over])
    assert not (tmp_path / "out").exists()


def test_too_large_a_grid_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--one-at-a-time"):
        sweep(str(data / "Beauty"), tmp_path / "out", space="paper", sampler="grid")


@pytest.mark.slow
def test_a_grid_without_a_space_is_the_papers(data: Path, tmp_path: Path) -> None:
    """On the recipe where alpha weighs what it weighs in the paper, one setting at a time."""
    quick = [*QUICK, "tokenizer.training.batch_size=64"]
    result = sweep(
        str(data / "Beauty"), tmp_path, sampler="grid", pruner="none", overrides=quick, trials=2
    )
    base = Run.open(Path(result["trials"][0]["run"])).settings
    assert base.tokenizer.selection == "collisions"
    assert not base.recommender.use_content
    assert {len(tried["settings"]) for tried in result["trials"]} == {0, 1}
    assert {"tokenizer.alpha", "recommender.temperature"} < result["space"].keys()
