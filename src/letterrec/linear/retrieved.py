"""Items retrieved for histories, each with its share of the probability."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Retrieved(NamedTuple):
    """Items retrieved for a batch of histories.

    The probability of an item is its share, plus the recommender's probability of it times the
    share that is left for the recommender.

    Attributes:
        items: int64 ``(batch, n)`` item rows, -1 padded; one that stands twice has both shares.
        shares: float32 ``(batch, n)``, below one in sum; what stands at -1 counts as 0.
    """

    items: Tensor
    shares: Tensor

    def before(self, other: Retrieved) -> Retrieved:
        """These, and behind them ``other``, whose shares are of what these leave.

        >>> remembered = Retrieved(torch.tensor([[3, -1]]), torch.tensor([[0.5, 0.1]]))
        >>> both = remembered.before(Retrieved(torch.tensor([[7, 3]]), torch.tensor([[0.4, 0.2]])))
        >>> both.items.tolist()
        [[3, -1, 7, 3]]
        >>> both.shares[both.items == 3].tolist(), both.shares[both.items == 7].tolist()
        ([0.5, 0.10000000149011612], [0.20000000298023224])
        """
        left = 1 - self.shares.masked_fill(self.items < 0, 0.0).sum(1, keepdim=True)
        shares = torch.cat([self.shares, left * other.shares], 1)
        return Retrieved(torch.cat([self.items, other.items], 1), shares)
