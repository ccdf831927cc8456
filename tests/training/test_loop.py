"""The training loop: repeatable, resumable at any epoch, and stopped by what should stop it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from conftest import Cut, cut_at_step, steps_done
from letterrec.errors import RunError, SettingsError
from letterrec.files import read_tensors, write_tensors
from letterrec.training import checkpoints, loop
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.devices import set_seed
from letterrec.training.loop import batches_by_length, train
from letterrec.training.options import TrainingOptions

EPOCHS = 5


class Net(nn.Module):
    """A small regression with dropout: its result depends on every random state."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, width), nn.Dropout(0.3), nn.GELU(), nn.Linear(width, 1)
        )
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        self.seen += len(x)
        error = (self.layers(x)[:, 0] - y).square().mean()
        return {"loss": error, "half": error / 2}


ORDER = TrainingOptions(batch_size=16, seed=7)


def fitted(
    folder: Path | None = None, epochs: int = EPOCHS, width: int = 8, **changes: Any
) -> tuple[Net, TrainingLog]:
    set_seed(7)
    x = torch.randn(64, 3)
    y = x.sum(1)
    net = Net(width)

    def validate() -> dict[str, float]:
        assert not net.training
        assert not torch.is_grad_enabled()
        return {"ndcg@10": -float((net.layers(x)[:, 0] - y).square().mean())}

    names = {field.name for field in fields(TrainingOptions)}
    own = {name: value for name, value in changes.items() if name in names}
    settings: dict[str, Any] = {
        "batches": lambda epoch: batches_by_length(np.ones(64), ORDER, epoch),
        "collate": lambda rows: (x[rows], y[rows]),
        "validate": validate,
        "options": TrainingOptions(
            **{"epochs": epochs, "learning_rate": 0.05, "seed": 7, "folder": folder} | own
        ),
    }
    log = train(net, **settings | {k: v for k, v in changes.items() if k not in names})
    return net, log


def state(net: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in net.state_dict().items()}


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def told(log: TrainingLog) -> list[dict[str, float]]:
    """The log without its times."""
    return [{k: v for k, v in e.items() if k != "seconds"} for e in log.epochs]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every epoch, however short."""
    monkeypatch.setattr(checkpoints, "AFTER_EPOCH", 0.0)


def cut_at(epoch: int) -> Any:
    def before_epoch(e: int) -> None:
        if e == epoch:
            raise Cut

    return before_epoch


def test_the_same_seed_gives_the_same_weights() -> None:
    first, log = fitted()
    again, log_again = fitted()
    assert_equal(state(first), state(again))
    assert told(log) == told(log_again)
    assert not torch.equal(first.layers[0].weight, fitted(seed=8)[0].layers[0].weight)


def test_training_lowers_the_loss_and_logs_each_epoch() -> None:
    _, log = fitted(epochs=20, patience=20)
    assert [e["epoch"] for e in log.epochs] == list(range(20))
    assert log.epochs[-1]["loss"] < 0.5 * log.epochs[0]["loss"]
    for entry in log.epochs:
        assert entry["half"] == pytest.approx(entry["loss"] / 2)
        assert entry["seconds"] > 0
    assert log.seconds == pytest.approx(sum(e["seconds"] for e in log.epochs))


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


@pytest.mark.slow
def test_a_processor_held_to_avx2_has_no_bfloat16() -> None:
    code = "from letterrec.training.devices import has_bfloat16; print(has_bfloat16())"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "CUDA_VISIBLE_DEVICES": ""}
    said = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert said.strip() == "False"


KILLED = """
import sys, time
from pathlib import Path
sys.path[:0] = {tests!r}
from letterrec.training.options import TrainingOptions
from letterrec.training import checkpoints
from test_loop import fitted

checkpoints.AFTER_EPOCH = 0.0
print("ready", flush=True)
fitted(Path({folder!r}), epochs=60, patience=60, before_epoch=lambda epoch: time.sleep(0.2))
"""


@pytest.mark.slow
def test_resume_after_sigkill_equals_an_uninterrupted_run(tmp_path: Path) -> None:
    script = KILLED.format(
        tests=[str(folder) for folder in Path(__file__).parents[:2]], folder=str(tmp_path)
    )
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


def test_the_best_weights_are_left_in_the_module() -> None:
    net = Net()
    values = iter([0.1, 0.5, 0.3, 0.2])
    kept: list[Tensor] = []

    def validate() -> dict[str, float]:
        kept.append(net.layers[0].weight.clone())
        return {"ndcg@10": next(values), "recall@10": 0.0}

    log = train(
        net,
        batches=lambda epoch: [np.arange(4)],
        collate=lambda rows: (torch.ones(4, 3), torch.zeros(4)),
        options=TrainingOptions(epochs=4, learning_rate=0.1),
        validate=validate,
    )
    assert (log.best_epoch, log.best) == (1, 0.5)
    assert torch.equal(net.layers[0].weight, kept[1])
    assert not torch.equal(kept[1], kept[3])
    assert not net.training
    assert log.epochs[2]["valid/recall@10"] == 0.0


def test_without_validation_the_last_weights_stay(tmp_path: Path) -> None:
    _, log = fitted(tmp_path, validate=None)
    assert log.best_epoch == EPOCHS - 1
    assert math.isnan(log.best)
    _, again = fitted(tmp_path, validate=None)
    assert again.best_epoch == EPOCHS - 1


@pytest.mark.parametrize(("every", "expected"), [(1, 4), (2, 8)])
def test_training_stops_after_patience_validations_without_gain(every: int, expected: int) -> None:
    values = iter([0.3, 0.5, 0.4, 0.5, 0.6])  # a tie is no gain
    _, log = fitted(epochs=20, every=every, patience=2, validate=lambda: {"ndcg@10": next(values)})
    assert len(log.epochs) == expected
    assert log.best_epoch == 2 * every - 1
    validated = [int(e["epoch"]) for e in log.epochs if "valid/ndcg@10" in e]
    assert validated == list(range(every - 1, expected, every))


def test_the_last_epoch_is_validated() -> None:
    _, log = fitted(epochs=5, every=3)
    assert [e["epoch"] for e in log.epochs if "valid/ndcg@10" in e] == [2, 4]


@pytest.mark.usefixtures("often")
def test_resume_of_an_early_stopped_run_stays_stopped(tmp_path: Path) -> None:
    values = iter([0.3, 0.2, 0.1, 0.9])
    fitted(tmp_path, epochs=20, patience=2, validate=lambda: {"ndcg@10": next(values)})
    _, log = fitted(tmp_path, epochs=20, patience=2, validate=lambda: {"ndcg@10": next(values)})
    assert len(log.epochs) == 3
    assert next(values) == 0.9


def test_the_schedule_rises_linearly_and_falls_along_a_cosine() -> None:
    # 10 steps, 20 % of them rising: 1/2, 1, then cos from 0 to pi over 8 steps
    options = TrainingOptions(warmup=0.2)
    rates = [loop._rate(step, 10, options) for step in range(10)]
    cosine = [0.5 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]
    assert rates == pytest.approx([0.5, 1.0, *cosine])
    assert rates[6] == pytest.approx(0.5)  # half way down
    assert loop._rate(0, 1, TrainingOptions(warmup=0.05)) == 1.0
    assert loop._rate(0, 100, TrainingOptions(warmup=0.0)) == 1.0  # no warm-up: full at once


def test_a_constant_rate_rises_and_stays() -> None:
    options = TrainingOptions(warmup=0.2, schedule="constant")
    assert [loop._rate(step, 10, options) for step in range(10)] == [0.5, *[1.0] * 9]


def test_without_a_bound_gradients_are_as_they_come() -> None:
    free, _ = fitted(clip=0.0)
    assert_equal(state(free), state(fitted(clip=1e9)[0]))
    bound, _ = fitted(clip=1e-9)  # below AdamW's epsilon: its steps shrink
    assert not torch.allclose(state(free)["layers.0.weight"], state(bound)["layers.0.weight"])


def test_batches_by_length_hold_each_row_once_and_alike_lengths_together() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 1003)
    options = TrainingOptions(batch_size=64, seed=3)
    batches = batches_by_length(lengths, options, epoch=0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1003))
    assert sorted(len(b) for b in batches) == [1003 % 64] + [64] * 15
    assert max(int(np.ptp(lengths[b])) for b in batches) <= 4
    orders = [np.concatenate(batches_by_length(lengths, options, e)).tolist() for e in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    firsts = [lengths[b[0]] for b in batches]
    assert firsts != sorted(firsts)  # the batches themselves come in random order


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


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_advice(value: float) -> None:
    x = torch.randn(64, 3)
    y = x.sum(1)
    y[5] = value
    with pytest.raises(SettingsError) as caught:
        fitted(
            label="tokenizer",
            batches=lambda epoch: [np.arange(8, 64), np.arange(8)],
            collate=lambda rows: (x[rows], y[rows]),
        )
    message = str(caught.value)
    assert message.startswith(f"tokenizer: the loss became {value} in epoch 1, batch 2")
    assert message.endswith("learning_rate = 0.05; lower learning_rate or raise warmup")


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_spoilt() -> None:
    class Steep(Net):
        def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            return {"loss": (self.layers(x) * 0).sum().sqrt()}  # 0, with slope infinity * 0

    net = Steep()
    before = state(net)
    with pytest.raises(SettingsError, match="the gradient norm became nan in epoch 1, batch 1"):
        train(
            net,
            batches=lambda epoch: [np.arange(4)],
            collate=lambda rows: (torch.ones(4, 3), torch.zeros(4)),
            options=TrainingOptions(epochs=1, learning_rate=0.1),
        )
    assert_equal(before, state(net))


def test_vectors_are_not_decayed() -> None:
    """With a zero gradient, only weight decay moves the parameters: matrices shrink."""

    class Idle(Net):
        def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            return {"loss": (self.layers(x) * 0).sum()}

    set_seed(0)
    net = Idle()
    before = state(net)
    train(
        net,
        batches=lambda epoch: [np.arange(4)],
        collate=lambda rows: (torch.ones(4, 3), torch.zeros(4)),
        options=TrainingOptions(epochs=1, learning_rate=0.1, weight_decay=0.5),
    )
    after = state(net)
    assert torch.equal(after["layers.0.bias"], before["layers.0.bias"])
    torch.testing.assert_close(after["layers.0.weight"], before["layers.0.weight"] * 0.95)
