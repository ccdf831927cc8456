"""Retrieved items, mixed into beam search as a share of the probability.

The probability of an item is its share plus what the recommender gives it of the rest. The shares
of all items below a prefix count for that prefix: so none that leads to them is dropped too early.
"""

from __future__ import annotations

import torch
from torch import Tensor

from letterrec.decoding.trie import Trie, gather
from letterrec.linear.retrieved import Retrieved

_NONE = torch.iinfo(torch.int32).max  # sorts behind every position


class Mixture:
    """Retrieved items as probability mass below the nodes of the trie.

    Attributes:
        positions: int32 ``(batch, n)`` rising positions of the items in the trie, `_NONE` last.
        before: float64 ``(batch, n + 1)``: the sum of the shares before each position.
        rest: float32 ``(batch, 1)``: log of the recommender's share.
    """

    def __init__(self, trie: Trie, positions: Tensor, before: Tensor, rest: Tensor) -> None:
        self._trie = trie
        self.positions = positions
        self.before = before
        self.rest = rest

    @classmethod
    def of(cls, trie: Trie, retrieved: Retrieved) -> Mixture:
        """The masses of the items of `Retrieved`."""
        is_item = retrieved.items >= 0
        positions = gather(trie.position, retrieved.items.clamp(min=0)).masked_fill(~is_item, _NONE)
        positions, order = positions.sort(dim=1)
        shares = retrieved.shares.masked_fill(~is_item, 0.0).to(torch.float64)
        before = torch.nn.functional.pad(shares.gather(1, order).cumsum(1), (1, 0))
        return cls(trie, positions.contiguous(), before, torch.log1p(-before[:, -1:]).float())

    def rows(self, start: int, stop: int) -> Mixture:
        """The part of the batch from row ``start`` up to ``stop``."""
        at = slice(start, stop)
        return Mixture(self._trie, self.positions[at], self.before[at], self.rest[at])

    def mixed(self, level: int, nodes: Tensor, own: Tensor) -> Tensor:
        """Log-probabilities of the mixture for the children of prefixes.

        Args:
            level: of the prefixes.
            nodes: int64 ``(batch, beams)``: the prefixes; the first of equal ones counts.
            own: float32 ``(batch, beams, width)``: the recommender's log-probabilities of their
                children, by code where the trie has a table, else in the trie's order.
        """
        trie = self._trie
        parents = torch.searchsorted(trie.first_item[level], self.positions, right=True) - 1
        is_there = parents[..., None] == nodes[:, None]  # (batch, n, beams)
        row, item = is_there.any(2).logical_and_(self.positions != _NONE).nonzero(as_tuple=True)
        beam = is_there[row, item].to(torch.uint8).argmax(1)

        child = torch.searchsorted(trie.first_item[level + 1], self.positions, right=True) - 1
        found = child[row, item]
        if trie.tables[level] is not None:
            place = gather(trie.codes[level + 1], found).long()
        else:
            place = found - gather(trie.first_child[level], parents[row, item])
        stop = torch.searchsorted(child, child, right=True)
        start = torch.searchsorted(child, child)
        mass = self.before.gather(1, stop) - self.before.gather(1, start)  # (batch, n)

        mixed = own + self.rest[..., None]
        there = mixed[row, beam, place]
        mixed[row, beam, place] = torch.logaddexp(there, mass[row, item].log().float())
        return mixed
