"""A softmax over some items in place of all: those of the batch, and random ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

_SAMPLES = 1024  # negatives, shared by a batch: half of them its own targets, half any items
_CHUNK_LOGITS = 2**20  # logits at a time: they stay in the processor's cache
_DEVICE_LOGITS = 2**27  # the same on an accelerator


class Negatives(NamedTuple):
    """Items that compete with the targets of a batch.

    Attributes:
        items: int64 ``(m,)`` item rows, rising, each once.
        correction: float32 ``(m,)``: what their logits are lowered by, the logarithm of how often
            an item is expected among the draws, less that of how often it was drawn.
    """

    items: Tensor
    correction: Tensor


def draw_negatives(targets: Tensor, popularity: Tensor, samples: int = _SAMPLES) -> Negatives:
    """Draw negatives: half of them among the targets of the batch, half among all items.

    The batch brings what is popular, the rest reaches items that hardly any batch has ("Mixed
    Negative Sampling for Learning Two-tower Neural Networks in Recommendations", WWW'20).

    Args:
        targets: int64 ``(n,)`` item rows.
        popularity: float ``(n_items,)``, each above 0: how often each item is a target.
        samples: drawn in all, with replacement.
    """
    n_items, half = len(popularity), samples // 2
    places = torch.randint(len(targets), (half,), device=targets.device)
    anywhere = torch.randint(n_items, (samples - half,), device=targets.device)
    drawn = torch.cat([targets[places], anywhere])
    items, counts = torch.unique(drawn, return_counts=True)
    shares = popularity[items].double() / popularity.sum(dtype=torch.float64)  # (m,)
    expected = half * shares + (samples - half) / n_items
    return Negatives(items, (expected / counts).log().float())


def sampled_loss(
    states: Tensor,
    targets: Tensor,
    popularity: Tensor,
    vectors: Callable[[Tensor], Tensor],
    samples: int = _SAMPLES,
) -> Tensor:
    """Mean cross-entropy of the targets against drawn items, as if it were against all.

    The logit of each drawn item is lowered by the logarithm of how often it is expected ("logQ
    correction"), which makes the sum in the denominator unbiased (Bengio and Senecal, "Quick
    Training of Probabilistic Neural Nets by Importance Sampling", 2003). A target does not compete
    with itself. Only the vectors of the batch's items are touched.

    Args:
        states: float ``(n, dim)``.
        targets: int64 ``(n,)`` item rows.
        popularity: float ``(n_items,)``, each above 0: how often each item is a target.
        vectors: int64 item rows ``(m,)`` -> their float ``(m, dim)``.
        samples: items that are drawn.

    Returns:
        float32 scalar, in nats; 0 where ``n`` is 0.
    """
    if len(targets) == 0:
        return states.sum()
    negatives = draw_negatives(targets, popularity, samples)
    place = torch.searchsorted(negatives.items, targets).clamp(max=len(negatives.items) - 1)
    own = torch.where(negatives.items[place] == targets, place, -1)  # (n,)
    loss: Tensor = _SampledCrossEntropy.apply(  # type: ignore[no-untyped-call]
        states, vectors(negatives.items), vectors(targets), negatives.correction, own
    )
    return loss


class _SampledCrossEntropy(torch.autograd.Function):
    """`sampled_loss` of given vectors: the forward pass already computes the gradients, some rows
    at a time, so that the logits are never held all at once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        negatives: Tensor,
        positives: Tensor,
        correction: Tensor,
        own: Tensor,
    ) -> Tensor:
        kind = states.device.type
        is_cast = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if is_cast else states.dtype
        with torch.autocast(kind, enabled=False):
            return _chunked(ctx, states, negatives, positives, correction, own, dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_states, of_negatives, of_positives = (g * gradients[0] for g in ctx.saved_tensors)
        return of_states, of_negatives, of_positives, None, None


def _chunked(
    ctx: Any,
    states: Tensor,
    negatives: Tensor,
    positives: Tensor,
    correction: Tensor,
    own: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """The loss of `_SampledCrossEntropy`, its products computed in ``dtype``."""
    n = len(states)
    total = torch.zeros((), device=states.device)
    of_states, of_positives = (
        torch.empty_like(t, dtype=torch.float32) for t in (states, positives)
    )
    of_negatives = torch.zeros_like(negatives, dtype=torch.float32)
    drawn = negatives.to(dtype)  # (m, dim)
    chunk = _CHUNK_LOGITS if states.device.type == "cpu" else _DEVICE_LOGITS
    rows = max(16, chunk // len(negatives))
    for start in range(0, n, rows):
        part = slice(start, start + rows)
        h, positive = states[part].float(), positives[part].float()  # (rows, dim) each
        logits = (h.to(dtype) @ drawn.T).float().sub_(correction)  # (rows, m)
        drawn_too = (own[part] >= 0).nonzero()[:, 0]
        logits[drawn_too, own[part][drawn_too]] = -torch.inf
        right = (h * positive).sum(1)  # (rows,)
        logsumexp = torch.logaddexp(logits.logsumexp(1), right)  # (rows,)
        total += (logsumexp - right).sum()
        shares = logits.sub_(logsumexp[:, None]).exp_().to(dtype)  # (rows, m)
        missing = ((right - logsumexp).exp() - 1)[:, None]  # (rows, 1)
        of_states[part] = (shares @ drawn).float() + missing * positive
        of_positives[part] = missing * h
        of_negatives += shares.T @ h.to(dtype)
    gradients = ((of_states, states), (of_negatives, negatives), (of_positives, positives))
    ctx.save_for_backward(*(g.div_(n).to(tensor.dtype) for g, tensor in gradients))
    return total / n
