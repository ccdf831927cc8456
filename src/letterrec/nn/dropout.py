"""Dropout whose masks cost little on a processor, and attention with it.

There PyTorch's own draws a float64 for each element on one core: a fifth of the time of training
`tiger`. Here an element takes 16 bits of NumPy's SFC64, a thirteenth of that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from letterrec.nn.random import draw_seed


class Dropout(nn.Module):
    """What `torch.nn.Dropout` does, its random numbers drawn by `draw_seed`.

    Args:
        p: share of the elements that become 0, to 16 bits.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    @property
    def is_on(self) -> bool:
        """Whether anything is dropped."""
        return self.training and self.p > 0

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same; the same tensor where nothing is dropped."""
        if not self.is_on:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        return x * self.mask(x)

    def after_relu(self, x: Tensor) -> Tensor:
        """Of ``relu(x)``, any shape; ``x`` is overwritten.

        On a processor in one pass that keeps neither mask nor input for the way back.
        """
        if not self.is_on or x.device.type != "cpu":
            return self.forward(F.relu(x, inplace=True))
        out: Tensor = _ReluDropout.apply(x, self.mask(x), self._scale)  # type: ignore[no-untyped-call]
        return out

    def mask(self, x: Tensor) -> Tensor:
        """A factor for each element of ``x``, in its dtype: 0, or what makes up for the zeros."""
        bits = np.random.SFC64(draw_seed()).random_raw(-(-x.numel() // 4))
        lanes = torch.from_numpy(bits.view(np.int16)[: x.numel()]).view(x.shape)
        kept = lanes.ge_(round(self.p * 2**16) - 2**15)
        return kept.to(x.dtype).mul_(self._scale)

    @property
    def _scale(self) -> float:
        return 1 / (1 - self.p)


def attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    dropout: Dropout,
    *,
    mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """`torch.nn.functional.scaled_dot_product_attention` with `Dropout` on its weights.

    Args:
        queries: float ``(b, h, t, e)``.
        keys: float ``(b, h, s, e)``.
        values: float ``(b, h, s, e)``.
        dropout: of the weights.
        mask: float, added to the scores ``(b, h, t, s)``.
        is_causal: whether a query attends to the positions up to its own.
        scale: of the scores; None for ``e ** -0.5``.

    Returns:
        float ``(b, h, t, e)``.
    """
    if not dropout.is_on or queries.device.type != "cpu":
        p = dropout.p if dropout.is_on else 0.0
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, dropout_p=p, is_causal=is_causal, scale=scale
        )
    scale = queries.shape[3] ** -0.5 if scale is None else scale
    scores = (queries if scale == 1 else queries * scale) @ keys.transpose(2, 3)  # (b, h, t, s)
    if mask is not None:
        scores = scores + mask
    if is_causal:
        later = torch.ones(scores.shape[2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return torch.matmul(dropout(scores.softmax(3)), values)


class _ReluDropout(torch.autograd.Function):
    """``relu(x) * mask`` in place: what is positive afterwards has a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, scale: float) -> Tensor:
        x.clamp_(min=0).mul_(mask)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (out,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradients[0], out, 0).mul_(ctx.scale), None, None
