"""T5, the encoder-decoder of "Exploring the Limits of Transfer Learning" (JMLR'20).

Parameter names and arithmetic are those of transformers' `T5ForConditionalGeneration` (ReLU
feed-forward, tied embeddings), so weights move freely between the two.

Shapes: b batch, s source length, t target length, d width, h heads, e width of a head.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from letterrec.nn.dropout import Dropout, attention

_BUCKETS = 32
_MAX_DISTANCE = 128


class RMSNorm(nn.Module):
    """Scale to unit root mean square, without centring or bias."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """``(..., d)`` -> the same shape, in the dtype of products: converted once for all."""
        normed = F.rms_norm(x, self.weight.shape, self.weight, 1e-6)
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            normed = normed.to(torch.get_autocast_dtype(kind))
        return normed


class Attention(nn.Module):
    """Multi-head attention without scaling; the position bias comes with the mask."""

    def __init__(self, dim: int, heads: int, head_dim: int, dropout: float, bias: bool) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads, self.head_dim, self.dropout = heads, head_dim, Dropout(dropout)
        self.q = nn.Linear(dim, inner, bias=False)
        self.k = nn.Linear(dim, inner, bias=False)
        self.v = nn.Linear(dim, inner, bias=False)
        self.o = nn.Linear(inner, dim, bias=False)
        nn.init.normal_(self.q.weight, std=(dim * head_dim) ** -0.5)
        nn.init.normal_(self.k.weight, std=dim**-0.5)
        nn.init.normal_(self.v.weight, std=dim**-0.5)
        nn.init.normal_(self.o.weight, std=inner**-0.5)
        if bias:
            self.relative_attention_bias = nn.Embedding(_BUCKETS, heads)
            nn.init.normal_(self.relative_attention_bias.weight, std=dim**-0.5)

    def split(self, x: Tensor) -> Tensor:
        """``(b, t, h * e)`` -> ``(b, h, t, e)``."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def position_bias(self, n: int, bidirectional: bool) -> Tensor:
        """The bias ``(h, n, n)`` of each key position (last) for each query position."""
        device = self.relative_attention_bias.weight.device
        position = torch.arange(n, device=device)
        buckets = _buckets(position[None, :] - position[:, None], bidirectional)
        bias: Tensor = self.relative_attention_bias(buckets)  # (n, n, h)
        return bias.permute(2, 0, 1)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        """From ``(b, t, d)`` to ``(b, s, d)`` under an additive mask that fits ``(b, h, t, s)``."""
        queries = self.split(self.q(x))
        keys, values = self.split(self.k(source)), self.split(self.v(source))
        attended = attention(queries, keys, values, self.dropout, mask=mask, scale=1.0)
        out: Tensor = self.o(attended.transpose(1, 2).flatten(2))
        return out


class SelfAttentionLayer(nn.Module):
    """Residual self-attention."""

    def __init__(self, dim: int, heads: int, head_dim: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.SelfAttention = Attention(dim, heads, head_dim, dropout, bias)
        self.layer_norm = RMSNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(b, t, d)`` and a mask for ``(b, h, t, t)`` -> ``(b, t, d)``."""
        normed = self.layer_norm(x)
        return x + cast(Tensor, self.dropout(self.SelfAttention(normed, normed, mask)))


class CrossAttentionLayer(nn.Module):
    """Residual attention of the decoder to the encoder's output."""

    def __init__(self, dim: int, heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.EncDecAttention = Attention(dim, heads, head_dim, dropout, bias=False)
        self.layer_norm = RMSNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        """``(b, t, d)``, ``(b, s, d)`` and a mask for ``(b, h, t, s)`` -> ``(b, t, d)``."""
        attended = self.EncDecAttention(self.layer_norm(x), source, mask)
        return x + cast(Tensor, self.dropout(attended))


class DenseReluDense(nn.Module):
    """Two matrices with a ReLU between them."""

    def __init__(self, dim: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.wi = nn.Linear(dim, feed_forward, bias=False)
        self.wo = nn.Linear(feed_forward, dim, bias=False)
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.wi.weight, std=dim**-0.5)
        nn.init.normal_(self.wo.weight, std=feed_forward**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., d)`` -> the same shape."""
        out: Tensor = self.wo(self.dropout.after_relu(self.wi(x)))
        return out


class FeedForwardLayer(nn.Module):
    """Residual feed-forward."""

    def __init__(self, dim: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.DenseReluDense = DenseReluDense(dim, feed_forward, dropout)
        self.layer_norm = RMSNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., d)`` -> the same shape."""
        return x + cast(Tensor, self.dropout(self.DenseReluDense(self.layer_norm(x))))


class Block(nn.Module):
    """Self-attention, in the decoder also cross-attention, and feed-forward."""

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        feed_forward: int,
        dropout: float,
        *,
        cross: bool,
        bias: bool,
    ) -> None:
        super().__init__()
        self.layer = nn.ModuleList([SelfAttentionLayer(dim, heads, head_dim, dropout, bias)])
        if cross:
            self.layer.append(CrossAttentionLayer(dim, heads, head_dim, dropout))
        self.layer.append(FeedForwardLayer(dim, feed_forward, dropout))

    @property
    def own(self) -> SelfAttentionLayer:
        """The self-attention."""
        return cast(SelfAttentionLayer, self.layer[0])

    @property
    def cross(self) -> CrossAttentionLayer:
        """The decoder's attention to the encoder."""
        return cast(CrossAttentionLayer, self.layer[1])

    @property
    def feed_forward(self) -> FeedForwardLayer:
        """The feed-forward."""
        return cast(FeedForwardLayer, self.layer[-1])


class Stack(nn.Module):
    """The encoder, or the decoder (``cross=True``)."""

    def __init__(
        self,
        dim: int,
        layers: int,
        heads: int,
        head_dim: int,
        feed_forward: int,
        dropout: float,
        *,
        cross: bool,
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            Block(dim, heads, head_dim, feed_forward, dropout, cross=cross, bias=i == 0)
            for i in range(layers)
        )
        self.final_layer_norm = RMSNorm(dim)
        self.dropout = Dropout(dropout)
        self.cross = cross

    @property
    def blocks(self) -> list[Block]:
        """The blocks, first to last."""
        return [cast(Block, block) for block in self.block]

    def position_bias(self, n: int) -> Tensor:
        """``(h, n, n)``, shared by all layers; in the decoder, -inf at later positions."""
        bias = self.blocks[0].own.SelfAttention.position_bias(n, not self.cross)
        if self.cross:
            later = torch.ones((n, n), dtype=torch.bool, device=bias.device).triu(1)
            bias = bias.masked_fill(later, -torch.inf)
        return bias

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        source: Tensor | None = None,
        source_mask: Tensor | None = None,
    ) -> Tensor:
        """Embeddings -> states ``(b, t, d)``.

        Args:
            x: ``(b, t, d)``.
            mask: additive ``(b, 1, 1, t)``; None where all positions exist.
            source: ``(b, s, d)`` states of the encoder, for the decoder.
            source_mask: additive ``(b, 1, 1, s)``; None where all positions exist.
        """
        bias = self.position_bias(x.shape[1])[None]
        if mask is not None:
            bias = bias + mask
        x = self.dropout(x)
        for block in self.blocks:
            x = block.own(x, bias)
            if source is not None:
                x = block.cross(x, source, source_mask)
            x = block.feed_forward(x)
        return cast(Tensor, self.dropout(self.final_layer_norm(x)))


def additive(mask: Tensor) -> Tensor:
    """bool ``(b, s)`` -> float ``(b, 1, 1, s)``: 0 where True, -inf where False."""
    zeros = torch.zeros(mask.shape, device=mask.device)
    return zeros.masked_fill_(~mask, -torch.inf)[:, None, None, :]


def _buckets(distance: Tensor, bidirectional: bool) -> Tensor:
    """Bucket of each distance (key position minus query position): exact when near, logarithmic
    up to `_MAX_DISTANCE`; half of the buckets for either direction, or all for the past.
    """
    n = _BUCKETS // 2 if bidirectional else _BUCKETS
    offset = (distance > 0).long() * n if bidirectional else torch.zeros_like(distance)
    distance = distance.abs() if bidirectional else -distance.clamp(max=0)
    exact = n // 2
    ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(_MAX_DISTANCE / exact)
    far = (exact + (ratio * (n - exact)).long()).clamp(max=n - 1)
    return offset + torch.where(distance < exact, distance, far)
