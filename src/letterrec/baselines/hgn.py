"""HGN: gates over the features and the items of the latest history.

Ma et al., "Hierarchical Gating Networks for Sequential Recommendation" (KDD'19), trained with the
softmax over the whole catalogue in place of one sampled negative.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from letterrec.baselines.latest import LatestItems, latest_items, user_vectors
from letterrec.nn.dropout import Dropout


class Hgn(LatestItems):
    """Scores an item by its product with user, gated history and history (eq. 8).

    See `LatestItems`.

    Args:
        n_users: users of the training data.
        n_items: items in the catalogue.
        max_history: latest items of a history that are read, at most.
        dim: width of the embeddings.
        window: L, latest items of a history that are read.
        dropout: of the embeddings of user and items.
        known_users: of `LatestItems`.
    """

    label = "recommender (HGN)"

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
        super().__init__(
            n_users=n_users,
            n_items=n_items,
            max_history=min(window, max_history),
            dim=dim,
            width=dim,
            known_users=known_users,
        )
        self.feature_gate = nn.Linear(dim, dim)
        self.feature_gate_user = nn.Linear(dim, dim, bias=False)
        self.item_gate = nn.Linear(dim, 1, bias=False)
        self.item_gate_user = nn.Linear(dim, self.max_history, bias=False)
        self.dropout = Dropout(dropout)
        self.draw_embeddings()

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
