"""MF: matrix factorization trained to rank.

Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback" (UAI'09); also with the
softmax over the whole catalogue in place of one sampled negative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

import torch
from torch import Tensor, nn

from letterrec.baselines.base import Baseline
from letterrec.baselines.factors import Loss, bpr_loss, fold_in, train_on_pairs, user_factors
from letterrec.data.sequences import Histories
from letterrec.nn.dropout import Dropout
from letterrec.nn.sasrec import biased_loss
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.options import TrainingOptions


class MatrixFactorization(Baseline):
    """Scores an item by the product of its factors and the user's, plus its bias; see `Baseline`.

    A user of the training data has factors of his own. Anyone else, and everyone unless
    ``known_users``, gets those that the mean of the history's items maps to (`factors.fold_in`).

    Args:
        n_users: users of the training data.
        n_items: items in the catalogue.
        max_history: latest items of a history that are folded in.
        dim: width of the factors.
        loss: ``"softmax"`` over the whole catalogue, or ``"bpr"``.
        dropout: of the factors of users and items.
        penalty: weight of half the squared factors of an interaction in the loss.
        known_users: rank for a user of the training data by what was learned of him.
    """

    fold: Tensor  # float32 (dim + 1, dim)

    user_tables = ("users.weight",)

    def __init__(
        self,
        *,
        n_users: int,
        n_items: int,
        max_history: int = 20,
        dim: int = 64,
        loss: Loss = "bpr",
        dropout: float = 0.0,
        penalty: float = 0.05,
        known_users: bool = False,
    ) -> None:
        super().__init__(n_users=n_users, n_items=n_items, max_history=max_history)
        self.known_users = known_users
        self.loss, self.penalty = loss, penalty
        self.dropout = Dropout(dropout)
        self.users = nn.Embedding(n_users, dim)
        self.items = nn.Embedding(n_items, dim)
        self.bias = nn.Parameter(torch.zeros(n_items))
        self.register_buffer("fold", torch.zeros(dim + 1, dim))
        nn.init.normal_(self.users.weight, std=0.1)
        nn.init.normal_(self.items.weight, std=0.1)
        self._trained_on: Histories | None = None

    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Learn that users like their items better than others."""
        self._trained_on = histories
        label = "recommender (MF)"
        return train_on_pairs(self, histories, options, validate, loss=self.loss, label=label)

    def forward(self, users: Tensor, items: Tensor, others: Tensor) -> dict[str, Tensor]:
        """The loss of interactions: users, their items and others (or none), each ``(n,)``."""
        own = self.users(users), self.items(items), self.items(others)
        user, item, other = (self.dropout(factors) for factors in own)  # (n, dim)
        if self.loss == "bpr":
            positive = (user * item).sum(1) + self.bias[items]  # (n,)
            rank = bpr_loss(positive, (user * other).sum(1) + self.bias[others])
        else:
            rank = biased_loss(user, self.items.weight, self.bias, items)
        squares = sum(factors.square().sum() for factors in own) / len(users)
        return {"loss": rank + self.penalty / 2 * squares, self.loss: rank.detach()}

    def train(self, mode: bool = True) -> Self:
        """Before it ranks, the fold-in is fitted to the factors as they are."""
        super().train(mode)
        if not mode and self._trained_on is not None:
            with torch.no_grad():
                fold = fold_in(self.users.weight, self.items.weight, self._trained_on)
                self.fold.copy_(fold)
        return self

    @torch.no_grad()
    def scores(self, histories: Tensor, users: Tensor | None = None) -> Tensor:
        """float32 ``(n, n_items)``; see `Baseline.scores`."""
        items, known = self.items.weight, users if self.known_users else None
        factors = user_factors(self.users.weight, items, self.fold, histories, known)
        return factors @ items.T + self.bias
