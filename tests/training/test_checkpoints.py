"""Checkpoints: a training that was cut resumes exactly; damaged ones are refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from conftest import Cut, cut_at_step, steps_done
from letterrec.errors import RunError
from letterrec.files.tensors import read_tensors, write_tensors
from letterrec.training import checkpoints
from regression import EPOCHS, assert_equal, cut_at, fitted, state, told


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every epoch, however short."""
    monkeypatch.setattr(checkpoints, "AFTER_EPOCH", 0.0)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("epoch", range(1, EPOCHS))
def test_resume_equals_an_uninterrupted_run(epoch: int, tmp_path: Path) -> None:
    whole, log = fitted(tmp_path / "whole")
    with pytest.raises(Cut):
        fitted(tmp_path / "cut", before_epoch=cut_at(epoch))
    resumed, resumed_log = fitted(tmp_path / "cut")
    assert_equal(state(whole), state(resumed))
    assert told(log) == told(resumed_log)
    assert (log.best_epoch, log.best) == (resumed_log.best_epoch, resumed_log.best)


def test_resume_repeats_the_epochs_since_the_last_checkpoint(tmp_path: Path) -> None:
    """Checkpoints are seconds apart, so a fast run is cut with only its first one written."""
    whole, log = fitted()
    with pytest.raises(Cut):
        fitted(tmp_path, before_epoch=cut_at(4))
    started: list[int] = []
    resumed, resumed_log = fitted(tmp_path, before_epoch=started.append)
    assert started == [1, 2, 3, 4]
    assert_equal(state(whole), state(resumed))
    assert told(log) == told(resumed_log)


def test_a_finished_run_resumes_to_its_result(tmp_path: Path) -> None:
    whole, log = fitted(tmp_path)
    started: list[int] = []
    again, log_again = fitted(tmp_path, before_epoch=started.append)
    assert started == []
    assert_equal(state(whole), state(again))
    assert told(log) == told(log_again)


@pytest.mark.parametrize("count", [1, 3, 5, 9, 10])
def test_resume_within_an_epoch_equals_an_uninterrupted_run(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, log = fitted(tmp_path / "whole")
    folder = tmp_path / "cut"
    with monkeypatch.context() as patch:
        cut_at_step(patch, count)  # an epoch has four
        with pytest.raises(Cut):
            fitted(folder)
    started: list[int] = []
    resumed, resumed_log = fitted(folder, before_epoch=started.append)
    assert started[0] == count // 4 + 1  # the epoch that was cut is gone on with, not begun anew
    assert_equal(state(whole), state(resumed))
    assert told(log) == told(resumed_log)


def test_checkpoints_within_an_epoch_are_minutes_apart(tmp_path: Path) -> None:
    """The first step of a training is no reason for one, nor is the first epoch of a sitting."""
    with pytest.raises(Cut):
        fitted(tmp_path, before_epoch=cut_at(1))
    assert steps_done(tmp_path) == 0
    assert checkpoints.WITHIN_EPOCH <= 300


def test_a_checkpoint_of_the_version_before_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, log = fitted()
    monkeypatch.setattr(checkpoints, "AFTER_EPOCH", 0.0)
    with pytest.raises(Cut):
        fitted(tmp_path, before_epoch=cut_at(3))
    path = tmp_path / "checkpoint.safetensors"
    tensors, about = read_tensors(path)
    write_tensors(path, tensors, {"log": about["log"]})
    resumed, resumed_log = fitted(tmp_path)
    assert_equal(state(whole), state(resumed))
    assert told(log) == told(resumed_log)


@pytest.mark.parametrize(
    "damage",
    [
        {"within": {"step": 1}},
        {"within": {"step": 1, "seconds": 0.0, "processes": [{"sums": {}, "python": 3}]}},
        {"within": [1]},
        {"log": {"epoch": 3}},
        {"log": 7},
        {},
    ],
    ids=json.dumps,
)
def test_a_checkpoint_that_says_nonsense_is_refused(damage: dict[str, Any], tmp_path: Path) -> None:
    fitted(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    tensors, about = read_tensors(path)
    log = about["log"] | {"epochs": about["log"]["epochs"][:2]}
    write_tensors(path, tensors, {"log": log} | damage if damage else {})
    with pytest.raises(RunError, match=r"checkpoint\.safetensors is damaged .*delete it") as caught:
        fitted(tmp_path)
    assert "\n" not in str(caught.value)


KILLED = """
import sys, time
from pathlib import Path
sys.path[:0] = {tests!r}
from letterrec.training.options import TrainingOptions
from letterrec.training import checkpoints
from regression import fitted

checkpoints.AFTER_EPOCH = 0.0
print("ready", flush=True)
fitted(Path({folder!r}), epochs=60, patience=60, before_epoch=lambda epoch: time.sleep(0.2))
"""


@pytest.mark.slow
def test_resume_after_sigkill_equals_an_uninterrupted_run(tmp_path: Path) -> None:
    script = KILLED.format(tests=[str(Path(__file__).parents[1])], folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    checkpoint = tmp_path / "checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()

    started: list[int] = []
    resumed, log = fitted(tmp_path, epochs=60, patience=60, before_epoch=started.append)
    whole, whole_log = fitted(epochs=60, patience=60)
    assert started
    assert 0 < started[0] < 60
    assert_equal(state(whole), state(resumed))
    assert told(whole_log) == told(log)


@pytest.mark.usefixtures("often")
def test_resume_of_an_early_stopped_run_stays_stopped(tmp_path: Path) -> None:
    values = iter([0.3, 0.2, 0.1, 0.9])
    fitted(tmp_path, epochs=20, patience=2, validate=lambda: {"ndcg@10": next(values)})
    _, log = fitted(tmp_path, epochs=20, patience=2, validate=lambda: {"ndcg@10": next(values)})
    assert len(log.epochs) == 3
    assert next(values) == 0.9


def test_a_checkpoint_is_safetensors_and_leaves_frozen_weights_out(tmp_path: Path) -> None:
    fitted(tmp_path)
    files = sorted(p for p in tmp_path.rglob("*") if p.is_file())
    checkpoint = tmp_path / "checkpoint.safetensors"
    assert checkpoint in files
    for file in files:  # no pickle: neither a zip archive of torch.save nor protocol bytes
        assert file == checkpoint or file.name.startswith("events.out.tfevents")
        assert file.read_bytes()[:2] not in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05")
    with safe_open(checkpoint, "pt") as opened:
        names = set(opened.keys())
    assert {"module/layers.0.weight", "best/layers.0.weight", "module/seen"} <= names
    assert {"optimizer/0/exp_avg", "optimizer/0/exp_avg_sq", "optimizer/0/step"} <= names
    assert not any("frozen" in name for name in names)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    fitted(tmp_path)
    with pytest.raises(RunError, match=r"checkpoint\.safetensors was written by a network of"):
        fitted(tmp_path, width=4)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    fitted(tmp_path)
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(RunError, match="is damaged"):
        fitted(tmp_path)
