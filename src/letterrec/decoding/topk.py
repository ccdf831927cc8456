"""The largest scores of each row, ties to the lower index.

`torch.topk` leaves open which of equal scores it takes: that may differ between processors and
between batches. Here score and index make one integer, so that no two are equal.
"""

from __future__ import annotations

import torch
from torch import Tensor

DEAD = torch.finfo(torch.float32).min  # the score of no candidate
_SURE = -torch.finfo(torch.float32).tiny  # log-probabilities are negative, but for rounding


def best(scores: Tensor, k: int) -> Tensor:
    """Indices int64 ``(rows, k)`` of the largest scores, best first; of all where ``k`` is more.

    The bits of a float32, those below the sign turned around where it is negative, are an integer
    that rises with it.

    >>> best(torch.tensor([[0.5, -1.0, 2.0, 0.5]]), 3).tolist()
    [[2, 0, 3]]
    """
    bits = scores.float().contiguous().view(torch.int32)
    keys = (bits ^ (bits >> 31).bitwise_and_(2**31 - 1)).to(torch.int64).bitwise_left_shift_(32)
    last = scores.shape[1] - 1
    keys.add_(torch.arange(last, -1, -1, device=scores.device))
    return last - keys.topk(min(k, last + 1), dim=1).values.bitwise_and_(2**32 - 1)


def best_log_probs(scores: Tensor, k: int) -> Tensor:
    """What `best` gives for float32 log-probabilities, faster; ``scores`` is overwritten.

    The bits of a negative float64 are an integer that falls as the float rises, and a float32
    leaves its lowest 29 bits free.
    """
    keys = scores.clamp_(DEAD, _SURE).to(torch.float64).view(torch.int64)
    keys.add_(torch.arange(scores.shape[1], device=scores.device))
    return keys.topk(k, dim=1, largest=False).values.bitwise_and_(2**29 - 1)
