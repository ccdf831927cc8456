"""The loss that recommenders are trained with."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def ranking_guided_loss(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """Ranking-guided generation loss (eq. 6), as the mean over the target codes.

    The cross-entropy of the logits over a temperature ``tau``: below 1, wrong codes of high logits
    cost more. The paper sums over the codes of an identifier; the mean keeps the loss comparable
    between identifiers of different lengths.

    Args:
        logits: float ``(n, vocabulary)`` before any softmax.
        targets: int64 ``(n,)``; -100 marks positions without a target.
        temperature: ``tau``.

    Returns:
        A scalar in nats per code.
    """
    return F.cross_entropy(logits / temperature, targets, ignore_index=-100)
