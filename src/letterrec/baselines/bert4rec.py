"""BERT4Rec: a bidirectional transformer that fills in masked items.

Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from
Transformer" (CIKM'19). The mask at the end of a history stands for the next item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from letterrec.baselines.base import Baseline
from letterrec.baselines.sequences import train_on_sequences
from letterrec.data.sequences import Histories
from letterrec.nn.dropout import Dropout, attention
from letterrec.nn.sasrec import biased_loss
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.options import TrainingOptions


class Bert4Rec(Baseline):
    """Scores an item as what fills in the mask behind the history; see `Baseline`.

    Item embeddings are input and output weights alike.

    Args:
        n_users: not used: a user is a history.
        n_items: items in the catalogue.
        max_history: latest items of a history that are read.
        dim: width of items, positions and blocks.
        layers: transformer blocks.
        heads: attention heads; they divide ``dim``.
        dropout: of embeddings, attention and block outputs.
        masked: share of a sequence's items that are masked in training, one at least.
        last: share of the sequences of which the last item alone is masked in training.
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
        dropout: float = 0.2,
        masked: float = 0.2,
        last: float = 0.2,
    ) -> None:
        super().__init__(n_users=n_users, n_items=n_items, max_history=max_history)
        self.masked, self.last = masked, last
        self.items = nn.Embedding(n_items + 1, dim)  # the last row is the mask
        self.positions = nn.Embedding(max_history + 1, dim)
        self.bias = nn.Parameter(torch.zeros(n_items))
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(_Block(dim, heads, dropout) for _ in range(layers))
        self.transform = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim))
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)

    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Train on sequences with holes; long ones are cut into windows."""
        windows = histories.windows(self.max_history + 1)
        return train_on_sequences(self, windows, options, validate, "recommender (BERT4Rec)")

    def forward(self, items: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy of the items that are masked.

        Args:
            items: int64 ``(batch, longest)`` item rows, left-aligned, -1 after the end.
        """
        holes = self._holes(items)  # (batch, longest)
        states = self.transform(self._read(items.masked_fill(holes, self.n_items))[holes])
        return {"loss": biased_loss(states, self.items.weight[:-1], self.bias, items[holes])}

    def _holes(self, items: Tensor) -> Tensor:
        """bool ``(batch, longest)``: what is masked, drawn anew; one item of each at least."""
        there = items >= 0
        draws = torch.rand(items.shape, device=items.device).masked_fill(~there, 2.0)
        holes = (draws < self.masked) | (draws == draws.amin(1, keepdim=True))
        is_last = torch.arange(items.shape[1], device=items.device) == there.sum(1)[:, None] - 1
        alone = torch.rand(len(items), 1, device=items.device) < self.last
        return torch.where(alone, is_last, holes) & there

    def _read(self, items: Tensor) -> Tensor:
        """Item rows ``(n, length)``, the mask among them, -1 after the end -> ``(n, length, dim)``.

        Positions are counted from the end, where what is asked for stands.
        """
        there = items >= 0  # (n, length)
        place = torch.arange(items.shape[1], device=items.device)
        back = (there.sum(1, keepdim=True) - 1 - place).clamp(min=0)  # (n, length)
        x = self.dropout(self.norm(self.items(items.clamp(min=0)) + self.positions(back)))
        hidden = torch.zeros(there.shape, device=x.device).masked_fill(~there, -torch.inf)
        for block in self.blocks:
            x = block(x, hidden[:, None, None])
        return cast(Tensor, x)

    @torch.no_grad()
    def scores(self, histories: Tensor, users: Tensor | None = None) -> Tensor:
        """Logits float32 ``(n, n_items)``; see `Baseline.scores`."""
        asked = torch.nn.functional.pad(histories, (0, 1), value=-1)
        end = (histories >= 0).sum(1, keepdim=True)  # (n, 1)
        asked = asked.scatter(1, end, self.n_items)
        states = self._read(asked)
        state = self.transform(states[torch.arange(len(asked), device=end.device), end[:, 0]])
        return cast(Tensor, state @ self.items.weight[:-1].T + self.bias)


class _Block(nn.Module):
    """Self-attention to all places and a feed-forward layer, each added, then normalized.

    Args:
        dim: width of the states.
        heads: attention heads; they divide ``dim``.
        dropout: of the attention's weights and of what is added.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = Dropout(dropout)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.norm_attention = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.norm_mlp = nn.LayerNorm(dim)

    def forward(self, state: Tensor, hidden: Tensor) -> Tensor:
        """States ``(batch, length, dim)`` -> the same shape.

        Args:
            state: of all places.
            hidden: float ``(batch, 1, 1, length)``, ``-inf`` at places that are not to be seen.
        """
        batch, length, dim = state.shape
        heads = self.query_key_value(state).view(batch, length, 3 * self.heads, -1)
        query, key, value = heads.transpose(1, 2).chunk(3, 1)  # (batch, heads, length, dim / heads)
        attended = attention(query, key, value, self.dropout, mask=hidden.to(query.dtype))
        attended = self.output(attended.transpose(1, 2).reshape(batch, length, dim))
        state = self.norm_attention(state + self.dropout(attended))
        return cast(Tensor, self.norm_mlp(state + self.dropout(self.mlp(state))))
