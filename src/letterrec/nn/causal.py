"""The block of causal transformers over items, which `nn.sasrec` and `recommenders.rqt` stack."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from letterrec.nn.dropout import Dropout, attention


class CausalBlock(nn.Module):
    """Causal self-attention and a feed-forward layer, each added to its input.

    Args:
        dim: width of the states.
        heads: attention heads; they divide ``dim``.
        dropout: of the attention's weights and of what is added.
        norm_first: whether layers read normalized states ("pre-norm"), or else what they are
            added to is normalized ("post-norm", as in "Attention Is All You Need").
    """

    def __init__(self, dim: int, heads: int, dropout: float, *, norm_first: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.norm_first = norm_first
        self.dropout = Dropout(dropout)
        self.norm_attention = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim), self.dropout
        )

    def forward(self, state: Tensor) -> Tensor:
        """States ``(batch, length, dim)`` -> the same shape.

        Sequences are left-aligned: padding stands last, and causality hides it.
        """
        batch, length, dim = state.shape
        heads = self.query_key_value(self._read(self.norm_attention, state))
        query, key, value = (
            heads.view(batch, length, 3 * self.heads, -1).transpose(1, 2).chunk(3, 1)
        )
        attended = attention(query, key, value, self.dropout, is_causal=True)
        attended = self.output(attended.transpose(1, 2).reshape(batch, length, dim))
        state = self._added(self.norm_attention, state + self.dropout(attended))
        return self._added(self.norm_mlp, state + self.mlp(self._read(self.norm_mlp, state)))

    def at(self, state: Tensor, place: Tensor) -> Tensor:
        """What `forward` gives at one place of each sequence, without the other places' work.

        States ``(batch, length, dim)`` and places int64 ``(batch,)`` -> ``(batch, dim)``.
        """
        batch, length, dim = state.shape
        row = torch.arange(batch, device=state.device)
        normed = self._read(self.norm_attention, state)
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        query = F.linear(normed[row, place], weight[:dim], bias[:dim])  # (batch, dim)
        pairs = F.linear(normed, weight[dim:], bias[dim:])  # (batch, length, 2 * dim)
        key, value = (
            pairs.view(batch, length, 2 * self.heads, -1).transpose(1, 2).chunk(2, 1)
        )  # (batch, heads, length, dim / heads)
        seen = torch.arange(length, device=state.device) <= place[:, None]  # (batch, length)
        attended = F.scaled_dot_product_attention(
            query.view(batch, self.heads, 1, -1), key, value, attn_mask=seen[:, None, None]
        )  # (batch, heads, 1, dim / heads)
        latest = state[row, place] + self.output(attended.reshape(batch, dim))
        latest = self._added(self.norm_attention, latest)
        return self._added(self.norm_mlp, latest + self.mlp(self._read(self.norm_mlp, latest)))

    def _read(self, norm: nn.Module, state: Tensor) -> Tensor:
        """What a layer with this norm reads of states of any shape."""
        return cast(Tensor, norm(state)) if self.norm_first else state

    def _added(self, norm: nn.Module, state: Tensor) -> Tensor:
        """What becomes of states of any shape that a layer with this norm was added to."""
        return state if self.norm_first else cast(Tensor, norm(state))
