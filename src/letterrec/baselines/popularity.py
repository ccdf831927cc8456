"""Popularity: everyone gets the items most frequent in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.baselines.base import Baseline
from letterrec.data.sequences import Histories
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.devices import device
from letterrec.training.options import TrainingOptions


class Popularity(Baseline):
    """Scores an item by how often it occurs in the training interactions; see `Baseline`."""

    def __init__(self, *, n_users: int, n_items: int, max_history: int = 20) -> None:
        super().__init__(n_users=n_users, n_items=n_items, max_history=max_history)
        self.register_buffer("counts", torch.zeros(n_items))

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> Self:
        """The baseline of given counts int64 ``(n_items,)``."""
        made = cls(n_users=0, n_items=len(counts))
        made.counts = torch.from_numpy(counts).float()
        return made.to(device())

    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Count the items."""
        items = torch.from_numpy(histories.items).long()
        self.counts = torch.bincount(items, minlength=self.n_items).float()
        self.to(device())
        return TrainingLog()

    def scores(self, histories: Tensor, users: Tensor | None = None) -> Tensor:
        """The counts float32 ``(n, n_items)``, whatever the history."""
        return self.counts.expand(len(histories), -1)
