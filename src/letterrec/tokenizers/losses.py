"""The terms of LETTER's loss (section 4.2), as pure functions.

Squared norms are averaged over items and dimensions, not summed over dimensions, so that the
weights alpha and beta mean the same whatever the dimensions are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def reconstruction_loss(content: Tensor, reconstructed: Tensor) -> Tensor:
    """``L_Recon = |s - s_hat|^2`` of eq. 2, per dimension.

    Args:
        content: float ``(n, d)``, s.
        reconstructed: float ``(n, d)``, s_hat.

    >>> reconstruction_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]])).item()
    2.0
    """
    return F.mse_loss(reconstructed, content)


def quantization_loss(residual: Tensor, embedding: Tensor, mu: float) -> Tensor:
    """One level of ``L_RQVAE`` of eq. 2, per dimension.

    ``|sg[r] - e|^2 + mu |r - sg[e]|^2``: the first term moves the code, the second commits the
    encoder to it.

    Args:
        residual: float ``(n, d)``, r of the level before.
        embedding: float ``(n, d)``, the chosen code of each item, e.
        mu: weight of the commitment.

    >>> r, e = torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 0.0]])
    >>> quantization_loss(r, e, 0.25).item()
    2.5
    """
    return F.mse_loss(embedding, residual.detach()) + mu * F.mse_loss(residual, embedding.detach())


def collaborative_loss(quantized: Tensor, cf: Tensor) -> Tensor:
    """``L_CF`` of eq. 3: each item's own CF embedding among those of the batch.

    The printed equation lacks the logarithm; as in the contrastive losses that it cites and in
    practice, this is the cross-entropy over the batch.

    Args:
        quantized: float ``(n, d)``, z_hat.
        cf: float ``(n, d)``, h, row for row.

    >>> z = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(collaborative_loss(z, z).item(), 4)  # log(1 + 1/e)
    0.3133
    """
    scores = quantized @ cf.T  # (n, n)
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def draw_positives(codes: Tensor, clusters: Tensor) -> Tensor:
    """For each code a random other code of its cluster, ``e_+`` of eq. 4.

    Args:
        codes: int64 ``(n,)``, codes of the batch.
        clusters: int64 ``(N,)``, cluster of each code of the codebook.

    Returns:
        int64 ``(n,)``; ``-1`` where a code is alone in its cluster.
    """
    order = clusters.argsort(stable=True)  # (N,) codes, cluster by cluster
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    sizes = torch.bincount(clusters)  # (K,)
    starts = sizes.cumsum(0) - sizes  # (K,)
    size, start = sizes[clusters[codes]], starts[clusters[codes]]  # (n,)
    others = (size - 1).clamp(min=1)
    step = 1 + (torch.rand(len(codes)).to(codes.device) * others).long().clamp(max=others - 1)
    drawn = order[start + (place[codes] - start + step) % size]
    return torch.where(size > 1, drawn, -1)


def diversity_loss(codebook: Tensor, codes: Tensor, positives: Tensor) -> Tensor:
    """``L_Div`` of eq. 4 for one level: each item's code near another code of its cluster.

    The cross-entropy of the positive among all codes but the item's own, by inner product. Items
    without a positive drop out; without any, the loss is 0.

    Args:
        codebook: float ``(N, d)``.
        codes: int64 ``(n,)``, the items' codes.
        positives: int64 ``(n,)`` from `draw_positives`.

    >>> book = torch.tensor([[1.0], [1.0], [0.0]])
    >>> loss = diversity_loss(book, torch.tensor([0, 2]), torch.tensor([1, -1]))
    >>> round(loss.item(), 4)  # log(1 + exp(0 - 1)), the second item drops out
    0.3133
    """
    n_codes = len(codebook)
    own = torch.eye(n_codes, dtype=torch.bool, device=codebook.device)
    scores = (codebook @ codebook.T).masked_fill(own, -torch.inf)  # (N, N)
    log_shares = scores.log_softmax(1).masked_fill(own, 0)
    has_positive = positives >= 0  # (n,)
    pairs = (codes * n_codes + positives)[has_positive]
    counts = torch.bincount(pairs, minlength=n_codes**2).view(n_codes, n_codes)
    return -(counts * log_shares).sum() / counts.sum().clamp(min=1)


def letter_loss(
    semantic: Tensor, collaborative: Tensor, diversity: Tensor, alpha: float, beta: float
) -> Tensor:
    """``L_LETTER = L_Sem + alpha L_CF + beta L_Div``, eq. 5.

    >>> letter_loss(*torch.tensor([1.0, 2.0, 3.0]), alpha=0.5, beta=0.25).item()
    2.75
    """
    return semantic + alpha * collaborative + beta * diversity
