"""How a network is trained: one frozen object for everything that trains one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from letterrec.config.keywords import Schedule

_STEPS = 1024  # of an epoch, from which on its batches grow


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of `training.loop.train`, the same for tokenizers, recommenders and baselines.

    Attributes:
        epochs: passes over the training data, at most; the schedule is for so many.
        stop: passes after which training ends all the same, where the schedule is of more; None:
            after ``epochs``.
        batch_size: sequences (or items) per step.
        largest_batch: what the batch may grow to where the data are large; None: it does not grow.
        most: sequences (or items) trained on in all, at most, where the data are large: there are
            fewer epochs then, or a part of one; None: as many as ``epochs`` have.
        epoch_steps: steps of an epoch, at most, by `sized`; None: all.
        learning_rate: of AdamW, at its highest: it rises linearly over the warm-up, then goes on as
            ``schedule`` says.
        schedule: ``"cosine"``: the rate falls to 0 along a cosine; ``"constant"``: it stays.
        weight_decay: of AdamW, for matrices; vectors (biases, norms) are not decayed.
        warmup: share of all steps in which the learning rate rises.
        clip: largest norm of the gradient; a longer one is scaled down. 0 scales none.
        patience: validations without gain after which training stops.
        criterion: the validation metric that selects the weights; higher is better.
        every: epochs between validations.
        seed: decides every random choice: initial weights, order of batches, dropout.
        folder: where checkpoints and TensorBoard events go; a checkpoint that is there is resumed.
            None keeps nothing.
        events: whether there are TensorBoard events.
        on_epoch: told of each epoch: its number, parts of the loss, validation, seconds.
    """

    epochs: int = 16
    stop: int | None = None
    batch_size: int = 256
    largest_batch: int | None = None
    most: int | None = None
    epoch_steps: int | None = None
    learning_rate: float = 2e-3
    schedule: Schedule = "cosine"
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float = 1.0
    patience: int = 5
    criterion: str = "ndcg@10"
    every: int = 1
    seed: int = 0
    folder: Path | None = None
    events: bool = True
    on_epoch: Callable[[Mapping[str, float]], None] | None = None

    def sized(self, n: int) -> Self:
        """The options for data of a size: `largest_batch` and `most` become numbers.

        A batch doubles until an epoch has a thousand steps.

        Args:
            n: sequences (or items) of an epoch.

        >>> options = TrainingOptions(epochs=14, largest_batch=1024, most=2**22)
        >>> options.sized(20_000) == options
        True
        >>> large = options.sized(10**6)
        >>> large.batch_size, large.epochs
        (1024, 4)
        >>> larger = options.sized(10**8)
        >>> larger.epochs, larger.epoch_steps
        (1, 4096)
        """
        size = self.batch_size
        while self.largest_batch is not None and size < self.largest_batch and n > _STEPS * size:
            size *= 2
        if self.most is None or n * self.epochs <= self.most:
            return self if size == self.batch_size else replace(self, batch_size=size)
        epochs, steps = max(1, self.most // n), -(-self.most // size)
        return replace(self, batch_size=size, epochs=epochs, epoch_steps=steps)
