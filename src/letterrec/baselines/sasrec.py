"""SASRec as a recommender of its own: the network that gives the CF embeddings, ranking items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor

from letterrec.baselines.base import Baseline
from letterrec.baselines.sequences import train_on_sequences
from letterrec.data.sequences import Histories
from letterrec.nn.sasrec import SASRec
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.options import TrainingOptions


class SasRecBaseline(Baseline):
    """`nn.sasrec.SASRec`, trained on every next item; see `Baseline`.

    Args:
        n_users: not used: a user is a history.
        n_items: items in the catalogue.
        max_history: latest items of a history that are read.
        dim: width of items, positions and blocks.
        layers: transformer blocks.
        heads: attention heads; they divide ``dim``.
        dropout: of embeddings, attention and block outputs.
        norm_first: of `SASRec`.
    """

    def __init__(
        self,
        *,
        n_users: int,
        n_items: int,
        max_history: int = 20,
        dim: int = 64,
        layers: int = 2,
        heads: int = 2,
        dropout: float = 0.5,
        norm_first: bool = False,
    ) -> None:
        super().__init__(n_users=n_users, n_items=n_items, max_history=max_history)
        self.network = SASRec(
            n_items=n_items,
            dim=dim,
            layers=layers,
            heads=heads,
            dropout=dropout,
            max_history=max_history,
            norm_first=norm_first,
        )

    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Train on every next item of every sequence; long ones are cut into windows."""
        counts = np.bincount(histories.items, minlength=self.n_items)
        self.network.popularity = torch.from_numpy(counts + 1).float()
        windows = histories.windows(self.max_history + 1)
        return train_on_sequences(
            self, windows, options, validate, "recommender (SASRec)", by_length=False
        )

    def forward(self, items: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy of each item after those before it.

        Args:
            items: int64 ``(batch, longest)`` item rows, left-aligned, -1 after the end.
        """
        return cast(dict[str, Tensor], self.network(items[:, :-1], items[:, 1:]))

    def scores(self, histories: Tensor, users: Tensor | None = None) -> Tensor:
        """Logits float32 ``(n, n_items)``; an empty history scores every item 0."""
        return self.network.scores(histories)
