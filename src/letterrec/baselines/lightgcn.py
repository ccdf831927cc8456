"""LightGCN: embeddings of users and items, spread over the graph of who has what.

He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation"
(SIGIR'20); also with the softmax over the whole catalogue in place of one sampled negative.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from letterrec.baselines.base import Baseline
from letterrec.baselines.factors import Loss, bpr_loss, fold_in, train_on_pairs, user_factors
from letterrec.data.sequences import Histories
from letterrec.nn.dropout import Dropout
from letterrec.nn.sasrec import full_loss
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.devices import device
from letterrec.training.options import TrainingOptions


class LightGcn(Baseline):
    """Scores an item by the product of its spread embedding and the user's; see `Baseline`.

    A user of the training data has an embedding of his own. Anyone else, and everyone unless
    ``known_users``, gets the one that the mean of the history's items maps to (`factors.fold_in`).

    Args:
        n_users: users of the training data.
        n_items: items in the catalogue.
        max_history: latest items of a history that are folded in.
        dim: width of the embeddings.
        layers: steps through the graph.
        loss: ``"softmax"`` over the whole catalogue, or ``"bpr"``.
        dropout: of the spread embeddings of users.
        penalty: weight of half the squared embeddings of an interaction, before they are spread,
            in the loss.
        known_users: rank for a user of the training data by what was learned of him.
    """

    user_tables = ("nodes.weight", "spread_users")
    spread_users: Tensor  # float32 (n_users, dim)
    spread_items: Tensor  # float32 (n_items, dim)
    fold: Tensor  # float32 (dim + 1, dim)

    def __init__(
        self,
        *,
        n_users: int,
        n_items: int,
        max_history: int = 20,
        dim: int = 64,
        layers: int = 3,
        loss: Loss = "bpr",
        dropout: float = 0.0,
        penalty: float = 1e-4,
        known_users: bool = False,
    ) -> None:
        super().__init__(n_users=n_users, n_items=n_items, max_history=max_history)
        self.known_users = known_users
        self.layers, self.loss, self.penalty = layers, loss, penalty
        self.dropout = Dropout(dropout)
        self.nodes = nn.Embedding(n_users + n_items, dim)  # users, then items
        nn.init.normal_(self.nodes.weight, std=0.1)
        self.register_buffer("spread_users", self.nodes.weight.detach()[:n_users].clone())
        self.register_buffer("spread_items", self.nodes.weight.detach()[n_users:].clone())
        self.register_buffer("fold", torch.zeros(dim + 1, dim))
        self._trained_on: Histories | None = None
        self._graph: Tensor | None = None

    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Learn that users like their items better than others."""
        self._trained_on = histories
        self._graph = bipartite(histories, self.n_items).to(device())
        label = "recommender (LightGCN)"
        return train_on_pairs(self, histories, options, validate, loss=self.loss, label=label)

    def forward(self, users: Tensor, items: Tensor, others: Tensor) -> dict[str, Tensor]:
        """The loss of interactions: users, their items and others (or none), each ``(n,)``."""
        nodes = self._spread()
        user = self.dropout(nodes[users])  # (n, dim)
        spread = nodes[self.n_users :]  # (n_items, dim)
        if self.loss == "bpr":
            positive = (user * spread[items]).sum(1)  # (n,)
            rank = bpr_loss(positive, (user * spread[others]).sum(1))
        else:
            rank = full_loss(user, spread, items)
        own = torch.cat([users, self.n_users + items, self.n_users + others])
        squares = self.nodes(own).square().sum() / len(users)
        return {"loss": rank + self.penalty / 2 * squares, self.loss: rank.detach()}

    def _spread(self) -> Tensor:
        """float ``(n_users + n_items, dim)``: the mean over the steps through the graph (eq. 8)."""
        assert self._graph is not None
        spread: Tensor = _Spread.apply(self.nodes.weight, self._graph, self.layers)  # type: ignore[no-untyped-call]
        return spread

    def train(self, mode: bool = True) -> Self:
        """Before it ranks, embeddings are spread and the fold-in is fitted to them."""
        super().train(mode)
        if not mode and self._trained_on is not None:
            with torch.no_grad():
                nodes = self._spread()
                self.spread_users.copy_(nodes[: self.n_users])
                self.spread_items.copy_(nodes[self.n_users :])
                fold = fold_in(self.spread_users, self.spread_items, self._trained_on)
                self.fold.copy_(fold)
        return self

    @torch.no_grad()
    def scores(self, histories: Tensor, users: Tensor | None = None) -> Tensor:
        """float32 ``(n, n_items)``; see `Baseline.scores`."""
        items, known = self.spread_items, users if self.known_users else None
        return user_factors(self.spread_users, items, self.fold, histories, known) @ items.T


def bipartite(histories: Histories, n_items: int) -> Tensor:
    """Who has what, as a symmetric graph of users and items, normalized by both degrees (eq. 7).

    Args:
        histories: one sequence per user; an item that comes twice counts once.
        n_items: items in the catalogue.

    Returns:
        Sparse CSR float32 ``(n_users + n_items, n_users + n_items)``.
    """
    n_users = len(histories)
    users = np.repeat(np.arange(n_users), histories.lengths)
    ones = np.ones(len(users), dtype=np.float32)
    shape = (n_users, n_items)
    has = sp.csr_array((ones, (users, histories.items)), shape=shape)
    has.data[:] = 1
    degrees = [np.maximum(np.asarray(has.sum(axis)).ravel(), 1) ** -0.5 for axis in (1, 0)]
    has = sp.diags_array(degrees[0]) @ has @ sp.diags_array(degrees[1])
    graph = sp.csr_array(sp.block_array([[None, has], [has.T, None]], format="csr"))
    with warnings.catch_warnings():  # PyTorch calls the format new
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(graph.indptr.astype(np.int64)),
            torch.from_numpy(graph.indices.astype(np.int64)),
            torch.from_numpy(graph.data.astype(np.float32)),
            size=graph.shape,
        )


class _Spread(torch.autograd.Function):
    """The mean of a matrix and what repeated products with a symmetric graph make of it.

    The graph is symmetric, so that the gradient is spread in the same way.
    """

    @staticmethod
    def forward(ctx: Any, nodes: Tensor, graph: Tensor, layers: int) -> Tensor:
        ctx.graph, ctx.layers = graph, layers
        return _spread(nodes, graph, layers)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _spread(gradients[0], ctx.graph, ctx.layers), None, None


def _spread(nodes: Tensor, graph: Tensor, layers: int) -> Tensor:
    total, step = nodes.clone(), nodes
    with torch.autocast(nodes.device.type, enabled=False):  # sparse products are of float32 alone
        for _ in range(layers):
            step = graph @ step
            total += step
    return total / (layers + 1)
