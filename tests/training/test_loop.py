"""The training loop: repeatable, stopped by what should stop it, with the best weights left."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from letterrec.errors import SettingsError
from letterrec.training import loop, steps
from letterrec.training.devices import set_seed
from letterrec.training.loop import batches_by_length, train
from letterrec.training.options import TrainingOptions
from regression import EPOCHS, Net, assert_equal, fitted, state, told


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


@pytest.mark.slow
def test_a_processor_held_to_avx2_has_no_bfloat16() -> None:
    code = "from letterrec.training.devices import has_bfloat16; print(has_bfloat16())"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "CUDA_VISIBLE_DEVICES": ""}
    said = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert said.strip() == "False"


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


def test_the_schedule_rises_linearly_and_falls_along_a_cosine() -> None:
    # 10 steps, 20 % of them rising: 1/2, 1, then cos from 0 to pi over 8 steps
    options = TrainingOptions(warmup=0.2)
    rates = [steps._rate(step, 10, options) for step in range(10)]
    cosine = [0.5 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]
    assert rates == pytest.approx([0.5, 1.0, *cosine])
    assert rates[6] == pytest.approx(0.5)  # half way down
    assert steps._rate(0, 1, TrainingOptions(warmup=0.05)) == 1.0
    assert steps._rate(0, 100, TrainingOptions(warmup=0.0)) == 1.0  # no warm-up: full at once


def test_a_constant_rate_rises_and_stays() -> None:
    options = TrainingOptions(warmup=0.2, schedule="constant")
    assert [steps._rate(step, 10, options) for step in range(10)] == [0.5, *[1.0] * 9]


def test_without_a_bound_gradients_are_as_they_come() -> None:
    free, _ = fitted(clip=0.0)
    assert_equal(state(free), state(fitted(clip=1e9)[0]))
    bound, _ = fitted(clip=1e-9)  # below AdamW's epsilon: its steps shrink
    assert not torch.allclose(state(free)["layers.0.weight"], state(bound)["layers.0.weight"])


def test_random_batches_hold_each_row_once_and_are_of_one_size() -> None:
    batches = loop.random_batches(10, TrainingOptions(batch_size=4, seed=1), 0)
    assert [len(rows) for rows in batches] == [4, 3, 3]
    assert sorted(np.concatenate(batches).tolist()) == list(range(10))
    again = loop.random_batches(10, TrainingOptions(batch_size=4, seed=1), 1)
    assert np.concatenate(again).tolist() != np.concatenate(batches).tolist()
    assert len(loop.random_batches(10, TrainingOptions(batch_size=4), 0, at_least=7)) == 9
    assert loop.random_batches(0, TrainingOptions(), 0, at_least=7) == []


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
