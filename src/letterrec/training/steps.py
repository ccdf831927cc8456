"""The steps of a training: a batch forward and backward, the gradients clipped, the rate scheduled.

`loop.train` takes all of them, a rehearsal some.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from letterrec.errors import SettingsError
from letterrec.training import distributed
from letterrec.training.checkpoints import Position
from letterrec.training.devices import set_seed
from letterrec.training.optimizers import Optimizers
from letterrec.training.options import TrainingOptions
from letterrec.training.threads import Team

Rows = NDArray[np.int64]


class Stepper:
    """Takes the steps of a training: forward, backward, clipped, at the scheduled rate."""

    def __init__(
        self,
        module: nn.Module,
        collate: Callable[[Rows], tuple[Tensor, ...]],
        optimizer: Optimizers,
        team: Team,
        options: TrainingOptions,
        steps_per_epoch: int,
        label: str,
    ) -> None:
        self.module, self.options, self.label = module, options, label
        self._collate, self._optimizer = collate, optimizer
        self._team, self._steps = team, steps_per_epoch

    @property
    def is_large(self) -> bool:
        """Whether there are tables of which a step moves only some rows."""
        return self._optimizer.has_tables

    @property
    def optimizer_bytes(self) -> int:
        """Of what the optimizer remembers."""
        return sum(t.nbytes for kept in self._optimizer.state().values() for t in kept.values())

    def step(self, rows: Rows, epoch: int, i: int) -> dict[str, float]:
        """One step on a batch; the parts of its loss, weighted for the mean over processes."""
        options = self.options
        rate = _rate(epoch * self._steps + i, self._steps * options.epochs, options)
        self._optimizer.set_rate(options.learning_rate * rate)
        mine, weight = _share(rows)
        parts = self._team.backward(self.module, self._collate, mine, weight)
        self._optimizer.average_gradients()
        norm = self._optimizer.clip_gradients()
        _check_finite(self.label, options.learning_rate, epoch, i, parts["loss"], norm)
        self._optimizer.step()
        return {name: weight * float(part) for name, part in parts.items()}


def begin_epoch(
    module: nn.Module,
    seed: int,
    epoch: int,
    position: Position,
    before_epoch: Callable[[int], None] | None,
) -> None:
    """Set the random state of an epoch, or of its rest, and what comes before its first step."""
    rank = [distributed.rank()] if distributed.rank() else []
    set_seed(seed, epoch, *rank, *([position.step] if position.step else []))
    if before_epoch is not None and position.state is None:
        module.eval()
        before_epoch(epoch)
    module.train()


@torch.no_grad()
def validated(
    module: nn.Module, validate: Callable[[], Mapping[str, float]]
) -> Mapping[str, float]:
    """The metrics of a module as it is, in eval mode."""
    module.eval()
    return validate()


def _share(rows: Rows) -> tuple[Rows, float]:
    """The rows of a batch that are this process's, and their weight in the mean over processes."""
    count = distributed.count()
    mine = rows[distributed.rank() :: count]
    if len(mine) == 0:  # all must take a step, if only for the sake of the others
        return rows[:1], 0.0
    return mine, len(mine) * count / len(rows)


def _check_finite(
    label: str, learning_rate: float, epoch: int, batch: int, loss: Tensor, norm: Tensor
) -> None:
    for name, value in (("loss", float(loss)), ("gradient norm", float(norm))):
        if not math.isfinite(value):
            raise SettingsError(
                f"{label}: the {name} became {value} in epoch {epoch + 1}, batch {batch + 1}, "
                f"with learning_rate = {learning_rate:g}; lower learning_rate or raise warmup"
            )


def _rate(step: int, total: int, options: TrainingOptions) -> float:
    """Share of the full learning rate at a step: linear rise, then a cosine to 0 or none."""
    rise = max(1, round(total * options.warmup))
    if step < rise:
        return (step + 1) / rise
    if options.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
