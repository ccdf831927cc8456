"""The block of causal transformers over items, which `nn.sasrec` and `recommenders.rqt` stack."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from letterrec.nn.dropout import Dropout, attention


class CausalBlock(nn.Module):
    """Causal self-attention and a feed-forward layer, each normalized before and added after.

    Args:
        dim: width of the states.
        heads: attention heads; they divide ``dim``.
        dropout: of the attention's weights and of what is added.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
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
        heads = self.query_key_value(self.norm_attention(state))
        query, key, value = (
            heads.view(batch, length, 3 * self.heads, -1).transpose(1, 2).chunk(3, 1)
        )
        attended = attention(query, key, value, self.dropout, is_causal=True)
        attended = self.output(attended.transpose(1, 2).reshape(batch, length, dim))
        state = state + self.dropout(attended)
        return torch.add(state, self.mlp(self.norm_mlp(state)))

    def at(self, state: Tensor, place: Tensor) -> Tensor:
        """What `forward` gives at one place of each sequence, without the other places' work.

        States ``(batch, length, dim)`` and places int64 ``(batch,)`` -> ``(batch, dim)``.
        """
        batch, length, dim = state.shape
        row = torch.arange(batch, device=state.device)
        normed = self.norm_attention(state)
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
        return torch.add(latest, self.mlp(self.norm_mlp(latest)))
