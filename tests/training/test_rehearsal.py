"""A rehearsal's clock, on work whose length is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from letterrec.training import rehearsal
from letterrec.training.loop import random_batches, train
from letterrec.training.options import TrainingOptions
from letterrec.training.rehearsal import BUDGET, rehearsing, some


class Clock:
    """A clock that stands still until it is told how long something took."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr(rehearsal.time, "perf_counter", lambda: self.seconds)

    def work(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_all_is_done_where_nothing_is_rehearsed() -> None:
    assert list(some(range(100))) == list(range(100))


def test_a_sample_stands_for_all(clock: Clock) -> None:
    with rehearsing() as trial:
        started = trial.now()
        done = [clock.work(0.1) for _ in some(range(1000))]
        assert trial.now() - started == pytest.approx(100)
    assert clock.seconds < 3 * BUDGET
    assert len(done) > 5


def test_warming_up_is_not_taken_for_the_work(clock: Clock) -> None:
    with rehearsing() as trial:
        for i, _ in enumerate(some(range(100))):
            clock.work(5.0 if i == 0 else 0.5)
        assert trial.now() == pytest.approx(5 + 99 * 0.5)


def test_what_grows_along_the_units_is_taken_evenly(clock: Clock) -> None:
    with rehearsing() as trial:
        for i in some(range(1024)):
            clock.work(0.01 * i / 1024)
        assert trial.now() == pytest.approx(1024 * 0.005, rel=0.1)


def test_one_unit_that_takes_long_is_enough(clock: Clock) -> None:
    with rehearsing() as trial:
        assert len([clock.work(60) for _ in some(range(10))]) == 1
        assert trial.now() == pytest.approx(600)


def test_nested_work_counts_as_often_as_what_it_is_in(clock: Clock) -> None:
    with rehearsing() as trial:
        for _ in some(range(10)):
            for _ in some(range(100)):
                clock.work(0.1)
        assert trial.now() == pytest.approx(100)


def test_a_stage_lasts_as_long_as_its_work_would(clock: Clock) -> None:
    with rehearsing() as trial:
        with rehearsal.stage("read"), rehearsal.stage("read"):
            clock.work(2)
        with rehearsal.stage("evaluation"):
            for _ in some(range(50)):
                clock.work(1)
        assert {name: s.seconds for name, s in trial.stages.items()} == pytest.approx(
            {"read": 2, "evaluation": 50}
        )


class Slow(nn.Module):
    """A step takes 0.2 s, by a clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self._clock = clock

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        self._clock.work(0.2)
        return {"loss": (self.weight - rows.float().mean()).square().sum()}


def test_a_training_takes_its_steps_and_validations(clock: Clock) -> None:
    options = TrainingOptions(epochs=20, batch_size=10, every=5)

    def validate() -> dict[str, float]:
        clock.work(3)
        return {"ndcg@10": 0.0}

    with rehearsing() as trial, rehearsal.stage("recommender"):
        log = train(
            Slow(clock),
            batches=lambda epoch: random_batches(300, options, epoch),
            collate=lambda rows: (torch.from_numpy(rows),),
            options=options,
            validate=validate,
            before_epoch=lambda epoch: clock.work(1),
            label="slowly",
        )
    (told,) = trial.stages["recommender"].trainings
    assert (told.label, told.epochs, told.steps, told.validations) == ("slowly", 20, 600, 4)
    assert told.step_seconds == pytest.approx(0.2)
    assert told.validation_seconds == pytest.approx(3)
    assert told.parameters == 3
    assert told.weights_bytes == 12
    assert told.optimizer_bytes >= 24  # two moments of each
    assert trial.stages["recommender"].seconds == pytest.approx(600 * 0.2 + 20 * 1 + 4 * 3)
    assert clock.seconds < 20
    assert len(log.epochs) == 1
