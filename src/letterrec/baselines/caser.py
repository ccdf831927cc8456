"""Caser: convolutions over the latest items of a history, as over an image.

Tang and Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding"
(WSDM'18), trained with the softmax over the whole catalogue in place of sampled negatives.
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


class Caser(Baseline):
    """Scores an item from the convolved history beside the user (eq. 10); see `Baseline`.

    Whom training has not seen, and everyone unless ``known_users``, is taken for the mean of all
    users.

    Args:
        n_users: users of the training data.
        n_items: items in the catalogue.
        max_history: latest items of a history that are read, at most.
        dim: width of the embeddings.
        window: L, latest items of a history that are read.
        horizontal: filters of each height from 1 to the window, over all dimensions.
        vertical: filters over all items of the window, for each dimension.
        dropout: of what the filters give, and of the user.
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
        horizontal: int = 16,
        vertical: int = 4,
        dropout: float = 0.5,
        known_users: bool = False,
    ) -> None:
        super().__init__(n_users=n_users, n_items=n_items, max_history=min(window, max_history))
        self.known_users = known_users
        self.users = nn.Embedding(n_users, dim)
        self.items = nn.Embedding(n_items, dim)
        self.output = nn.Embedding(n_items, 2 * dim)
        self.bias = nn.Parameter(torch.zeros(n_items))
        heights = range(1, self.max_history + 1)
        self.horizontal = nn.ModuleList(nn.Conv1d(dim, horizontal, height) for height in heights)
        self.vertical = nn.Linear(self.max_history, vertical, bias=False)
        self.hidden = nn.Linear(horizontal * self.max_history + vertical * dim, dim)
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
        return train_on_next_items(self, histories, options, validate, "recommender (Caser)")

    def forward(self, histories: Tensor, users: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy of the items that follow.

        Args:
            histories: int64 ``(n, longest)`` item rows, left-aligned, -1 after the end.
            users: int64 ``(n,)`` whose they are.
            targets: int64 ``(n,)`` the next items.
        """
        states = self._read(histories, users)
        ones = states.new_ones(len(states), 1)
        weights = torch.cat([self.output.weight, self.bias[:, None]], 1)  # (n_items, 2 dim + 1)
        return {"loss": full_loss(torch.cat([states, ones], 1), weights, targets)}

    def _read(self, histories: Tensor, users: Tensor | None) -> Tensor:
        """Histories and users -> float ``(n, 2 dim)``: what an item's output embedding meets."""
        latest = latest_items(histories, self.max_history)  # (n, window)
        image = self.items(latest.clamp(min=0)) * (latest >= 0)[:, :, None]  # (n, window, dim)
        image = image.transpose(1, 2)  # (n, dim, window)
        found = [filters(image).relu().amax(2) for filters in self.horizontal]  # eq. 3 to 5
        found.append(self.vertical(image).flatten(1))  # (n, dim * vertical), eq. 6 to 8
        hidden = self.hidden(self.dropout(torch.cat(found, 1))).relu()  # (n, dim), eq. 9
        user = self.dropout(user_vectors(self.users.weight, users, len(latest)))
        return torch.cat([hidden, user], 1)

    @torch.no_grad()
    def scores(self, histories: Tensor, users: Tensor | None = None) -> Tensor:
        """Logits float32 ``(n, n_items)``; see `Baseline.scores`."""
        return (
            self._read(histories, users if self.known_users else None) @ self.output.weight.T
            + self.bias
        )
