"""What models of a history's latest items share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from letterrec.baselines.base import Baseline
from letterrec.baselines.sequences import train_on_next_items
from letterrec.data.sequences import Histories
from letterrec.nn.sasrec import biased_loss
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.options import TrainingOptions


class LatestItems(Baseline):
    """Scores an item by how its output embedding meets the latest items beside the user.

    Whom training has not seen, and everyone unless ``known_users``, is taken for the mean of all
    users. A subclass adds its layers and then calls `draw_embeddings`.

    Args:
        n_users: users of the training data.
        n_items: items in the catalogue.
        max_history: latest items of a history that are read.
        dim: width of the embeddings of users and items.
        width: of the output embeddings.
        known_users: rank for a user of the training data by what was learned of him.
    """

    label: ClassVar[str]  # shown with the progress

    user_tables = ("users.weight",)

    def __init__(
        self,
        *,
        n_users: int,
        n_items: int,
        max_history: int,
        dim: int,
        width: int,
        known_users: bool,
    ) -> None:
        super().__init__(n_users=n_users, n_items=n_items, max_history=max_history)
        self.known_users = known_users
        self.users = nn.Embedding(n_users, dim)
        self.items = nn.Embedding(n_items, dim)
        self.output = nn.Embedding(n_items, width)
        self.bias = nn.Parameter(torch.zeros(n_items))

    def draw_embeddings(self) -> None:
        """Draw the embeddings anew, from N(0, 0.02)."""
        for table in (self.users, self.items, self.output):
            nn.init.normal_(table.weight, std=0.02)

    @abstractmethod
    def _read(self, histories: Tensor, users: Tensor | None) -> Tensor:
        """Histories and users, as of `scores` -> float ``(n, width)``: what output embeddings
        meet.
        """

    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Train on every item after those before it."""
        return train_on_next_items(self, histories, options, validate, self.label)

    def forward(self, histories: Tensor, users: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy of the items that follow.

        Args:
            histories: int64 ``(n, longest)`` item rows, left-aligned, -1 after the end.
            users: int64 ``(n,)`` whose they are.
            targets: int64 ``(n,)`` the next items.
        """
        states = self._read(histories, users)
        return {"loss": biased_loss(states, self.output.weight, self.bias, targets)}

    @torch.no_grad()
    def scores(self, histories: Tensor, users: Tensor | None = None) -> Tensor:
        """Logits float32 ``(n, n_items)``; see `Baseline.scores`."""
        states = self._read(histories, users if self.known_users else None)
        return states @ self.output.weight.T + self.bias


def latest_items(histories: Tensor, window: int) -> Tensor:
    """The latest items of each history, right-aligned.

    Args:
        histories: int64 ``(n, longest)`` item rows, left-aligned, -1 after the end.
        window: how many.

    Returns:
        int64 ``(n, window)``, -1 before the beginning.

    >>> latest_items(torch.tensor([[4, 5, 6], [7, -1, -1]]), 2).tolist()
    [[5, 6], [-1, 7]]
    """
    lengths = (histories >= 0).sum(1, keepdim=True)  # (n, 1)
    place = lengths - window + torch.arange(window, device=histories.device)  # (n, window)
    padded = torch.nn.functional.pad(histories, (0, 1), value=-1)  # never of no width
    return padded.gather(1, place.clamp(min=0)).masked_fill(place < 0, -1)


def user_vectors(table: Tensor, users: Tensor | None, n: int) -> Tensor:
    """The vector of each user, and the mean of all for one who is not known.

    Args:
        table: float ``(n_users, dim)``.
        users: int64 ``(n,)`` rows, -1 for nobody known; None: nobody is.
        n: how many are asked for.

    Returns:
        float ``(n, dim)``.
    """
    nobody = table.mean(0).expand(n, -1)
    if users is None:
        return nobody
    return torch.where((users >= 0)[:, None], table[users.clamp(min=0)], nobody)
