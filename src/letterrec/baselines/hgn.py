"""HGN: gates over the features and the items of the latest history.

Ma et al., "Hierarchical Gating Networks for Sequential Recommendation" (KDD'19), trained with the
softmax over the whole catalogue in place of one sampled negative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from letterrec.baselines.base import Baseline
from letterrec.baselines.latest import latest_items, user_vectors
from letterrec.baselines.sequences import train_on_next_items
from letterrec.data.sequences import Histories
from letterrec.nn.dropout import Dropout
from letterrec.nn.sasrec import full_loss
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.options import TrainingOptions


class Hgn(Baseline):
    """Scores an item by its product with user, gated history and history (eq. 8); see `Baseline`.

    Whom training has not seen, and everyone unless ``known_users``, is taken for the mean of all
    users.

    Args:
        n_users: users of the training data.
        n_items: items in the catalogue.
        max_history: latest items of a history that are read, at most.
        dim: width of the embeddings.
        window: L, latest items of a history that are read.
        dropout: of the embeddings of user and items.
        known_users: rank for a user of the training data by what was learned of him.
    """

    def __init__(
        self,
        *,
        n_users: int,
        n_items: int,
        max_history: int = 20,
        dim: int = 64,
        window: int = 5,
        dropout: float = 0.5,
        known_users: bool = False,
    ) -> None:
        super().__init__(n_users=n_users, n_items=n_items, max_history=min(window, max_history))
        self.known_users = known_users
        self.users = nn.Embedding(n_users, dim)
        self.items = nn.Embedding(n_items, dim)
        self.output = nn.Embedding(n_items, dim)
        self.bias = nn.Parameter(torch.zeros(n_items))
        self.feature_gate = nn.Linear(dim, dim)
        self.feature_gate_user = nn.Linear(dim, dim, bias=False)
        self.item_gate = nn.Linear(dim, 1, bias=False)
        self.item_gate_user = nn.Linear(dim, self.max_history, bias=False)
        self.dropout = Dropout(dropout)
        for table in (self.users, self.items, self.output):
            nn.init.normal_(table.weight, std=0.02)

    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Train on every item after those before it."""
        return train_on_next_items(self, histories, options, validate, "recommender (HGN)")

    def forward(self, histories: Tensor, users: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy of the items that follow.

        Args:
            histories: int64 ``(n, longest)`` item rows, left-aligned, -1 after the end.
            users: int64 ``(n,)`` whose they are.
            targets: int64 ``(n,)`` the next items.
        """
        states = self._read(histories, users)
        ones = states.new_ones(len(states), 1)
        weights = torch.cat([self.output.weight, self.bias[:, None]], 1)  # (n_items, dim + 1)
        return {"loss": full_loss(torch.cat([states, ones], 1), weights, targets)}

    def _read(self, histories: Tensor, users: Tensor | None) -> Tensor:
        """Histories and users -> float ``(n, dim)``: what an item's output embedding meets."""
        latest = latest_items(histories, self.max_history)  # (n, window)
        known = (latest >= 0)[:, :, None]
        user = self.dropout(user_vectors(self.users.weight, users, len(latest)))  # (n, dim)
        items = self.dropout(self.items(latest.clamp(min=0))) * known  # (n, window, dim)
        gate = self.feature_gate(items) + self.feature_gate_user(user)[:, None]
        gated = items * gate.sigmoid()  # eq. 3
        weight = self.item_gate(gated)[:, :, 0] + self.item_gate_user(user)  # (n, window)
        weighted = gated * weight.sigmoid()[:, :, None]  # eq. 5
        pooled = weighted.sum(1) / known.sum(1).clamp(min=1)  # (n, dim), eq. 6
        return torch.add(user + pooled, items.sum(1))

    @torch.no_grad()
    def scores(self, histories: Tensor, users: Tensor | None = None) -> Tensor:
        """Logits float32 ``(n, n_items)``; see `Baseline.scores`."""
        return (
            self._read(histories, users if self.known_users else None) @ self.output.weight.T
            + self.bias
        )
