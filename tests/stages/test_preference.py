"""Post-training of a finished run on preferences: what is learned, kept, taken over and refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import letterrec
from behaviours import BUY, NAMES, planted
from command import letterrec as command
from conftest import Cut, cut_at_step, small_settings
from letterrec.data import Dataset
from letterrec.errors import RunError, SettingsError
from letterrec.runs.run import Run
from letterrec.stages import preference

FAST = {
    "preference.training.epochs": 2,
    "preference.training.batch_size": 64,
    "preference.training.learning_rate": 5e-3,
}
STILL = {"preference.training.epochs": 1, "preference.training.learning_rate": 1e-12}


@pytest.fixture(scope="module")
def aligned(shop_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An aligned run, made by the command; read only."""
    folder = tmp_path_factory.mktemp("runs") / "aligned"
    sets = [part for key, value in FAST.items() for part in ("--set", f"{key}={value}")]
    assert command("align", shop_run, "--out", folder, *sets) == 0
    return Run.open(folder)


@pytest.mark.slow
def test_an_aligned_run_has_other_weights_and_all_else_of_its_run(
    shop_run: Path, aligned: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Run.open(shop_run).weights()
    assert aligned.stages.index("preference") == aligned.stages.index("recommender") + 1
    for name in ("recommender.safetensors", "identifiers.parquet"):
        assert (aligned.folder / name).read_bytes() == (shop_run / name).read_bytes()
    record = aligned.about["stages"]["preference"]
    assert record["epochs"] == len(aligned.training_log("preference").epochs) == 2
    changed = any(not np.array_equal(before[k], v) for k, v in aligned.weights().items())
    kept = aligned.weights_path == aligned.files.preference
    assert changed == kept == (record["best_epoch"] >= 0)
    measured = letterrec.evaluate(aligned, progress=False)["metrics"]
    assert measured == aligned.metrics()["test"]["metrics"]
    assert command("align", aligned.folder) == 2
    assert "has learned preferences already" in capsys.readouterr().err


@pytest.mark.slow
def test_where_nothing_is_gained_all_stays_as_it_was(
    shop_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = letterrec.align(shop_run, tmp_path / "run", STILL)
    assert "the weights stay as they were" in capsys.readouterr().err
    assert run.about["stages"]["preference"]["best_epoch"] == -1
    assert not run.files.preference.exists()
    assert run.metrics()["test"]["metrics"] == Run.open(shop_run).metrics()["test"]["metrics"]
    assert np.array_equal(run.ranks("test"), Run.open(shop_run).ranks("test"))
    again = letterrec.align(shop_run, tmp_path / "run", STILL, resume=True, progress=False)
    assert again.about == run.about


@pytest.mark.slow
def test_an_alignment_that_is_cut_goes_on_to_the_same_weights(
    shop_run: Path, aligned: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tmp_path / "cut"
    for resume in (False, True):
        with monkeypatch.context() as patch:
            cut_at_step(patch, 2)
            with pytest.raises(Cut):
                letterrec.align(shop_run, cut, FAST, resume=resume, progress=False)
        assert not Run.open(cut).is_done("preference")
    run = letterrec.align(shop_run, cut, FAST, resume=True, progress=False)
    assert all(np.array_equal(run.weights()[k], v) for k, v in aligned.weights().items())
    assert run.metrics()["test"]["metrics"] == aligned.metrics()["test"]["metrics"]


@pytest.mark.slow
def test_what_cannot_be_aligned_is_refused(shop_run: Path, tmp_path: Path) -> None:
    for settings, message in (
        ({"training.epochs": 5}, "training: what .* has learned is taken over as it is"),
        ({"preference.rejected": 0}, "preference.rejected"),
        ({"preference.betas": 1}, "preference.betas"),
    ):
        with pytest.raises(SettingsError, match=message):
            letterrec.align(shop_run, tmp_path / "run", settings, progress=False)
    assert not (tmp_path / "run").exists()
    with pytest.raises(RunError, match="does not exist"):
        letterrec.align(tmp_path / "nothing", progress=False)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(shop_run, unfinished)
    about = Run.open(unfinished)
    del about.about["stages"]["evaluation"]
    about._write()
    with pytest.raises(RunError, match="evaluation"):
        letterrec.align(unfinished, progress=False)
    tiger = small_settings("preference.enabled=true", "recommender.name=tiger")
    with pytest.raises(SettingsError, match="'tiger' does not learn preferences"):
        letterrec.fit(Run.open(shop_run).dataset(), tmp_path / "tiger", tiger, progress=False)


def test_places_are_what_was_chosen_of_the_targets() -> None:
    """One of each user, not his first item, of a behaviour that is to be predicted."""
    histories = planted(30)
    ids = tuple(map(str, range(12)))
    users = tuple(map(str, range(30)))
    dataset = Dataset(
        "planted", users, ids, histories, titles=ids, behaviours=NAMES, targets=(BUY,)
    )
    rows, places = preference._places(dataset, histories, 50, seed=0)
    assert histories.behaviours is not None
    assert (histories.behaviours[places] == BUY).all()
    assert ((histories.offsets[rows] < places) & (places < histories.offsets[rows + 1])).all()
    after_first = np.setdiff1d(np.arange(len(histories.items)), histories.offsets[:-1])
    bought = after_first[histories.behaviours[after_first] == BUY]
    expected = np.unique(np.searchsorted(histories.offsets, bought, side="right") - 1)
    assert rows.tolist() == expected.tolist()
    few, _ = preference._places(dataset, histories, 7, seed=0)
    assert len(few) == 7
    other = preference._places(dataset, histories, 50, seed=1)[1]
    assert not np.array_equal(other, places)
