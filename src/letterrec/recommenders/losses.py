"""The losses that recommenders are trained with."""

from __future__ import annotations

import torch
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


def preference_loss(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Preference optimisation with several rejected items for each chosen one: the softmax DPO of
    "On Softmax Direct Preference Optimization for Recommendation" (NeurIPS'24). With one rejected
    item it is DPO ("Direct Preference Optimization", NeurIPS'23, eq. 7).

    Args:
        chosen: float ``(n,)``: by how much the log-probability of each chosen item is above that
            which the reference gives it.
        rejected: float ``(n, m)``: the same of the rejected ones; ``-inf`` where there are fewer.
        beta: how fast the loss falls as the chosen item gains on the rejected ones.

    Returns:
        A scalar in nats: the mean over the cases.
    """
    behind = torch.logsumexp(beta * (rejected - chosen[:, None]), 1)
    return F.softplus(behind).mean()
