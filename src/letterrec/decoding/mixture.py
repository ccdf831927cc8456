"""Retrieved items, mixed into beam search as a share of the probability.

The probability of an item is its share plus what the recommender gives it of the rest. The shares
of all items below a prefix count for that prefix: so none that leads to them is dropped too early.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from letterrec.decoding.trie import Trie, gather
from letterrec.linear.retrieved import Retrieved


class Mixture:
    """Retrieved items as probability mass below the nodes of the trie.

    Attributes:
        nodes: per level int32 ``(batch, n)``: the node above each item, rising in each row.
        masses: per level float32 ``(batch, n)``: log of the sum of the shares below that node.
        rest: float32 ``(batch, 1)``: log of the recommender's share.
    """

    def __init__(
        self, trie: Trie, nodes: Sequence[Tensor], masses: Sequence[Tensor], rest: Tensor
    ) -> None:
        self._trie = trie
        self.nodes = nodes
        self.masses = masses
        self.rest = rest

    @classmethod
    def of(cls, trie: Trie, retrieved: Retrieved) -> Mixture:
        """The masses of the items of `Retrieved`."""
        is_item = retrieved.items >= 0
        positions = gather(trie.position, retrieved.items.clamp(min=0))
        positions, order = positions.masked_fill(~is_item, trie.n_items - 1).sort(dim=1)
        shares = retrieved.shares.masked_fill(~is_item, 0.0).to(torch.float64).gather(1, order)
        nodes = [gather(above, positions) for above in trie.nodes_above]
        masses = [_sums_of_runs(shares, each).log().float() for each in nodes]
        return cls(trie, nodes, masses, torch.log1p(-shares.sum(1, keepdim=True)).float())

    def rows(self, start: int, stop: int) -> Mixture:
        """The part of the batch from row ``start`` up to ``stop``."""
        at = slice(start, stop)
        nodes, masses = [n[at] for n in self.nodes], [m[at] for m in self.masses]
        return Mixture(self._trie, nodes, masses, self.rest[at])

    def mixed(self, level: int, nodes: Tensor, is_prefix: Tensor, own: Tensor) -> Tensor:
        """Log-probabilities of the mixture for the children of prefixes.

        Args:
            level: of the prefixes.
            nodes: int64 ``(batch, beams)``: the prefixes.
            is_prefix: bool ``(batch, beams)``: which of them count; these are not equal.
            own: float32 ``(batch, beams, width)``: the recommender's log-probabilities of their
                children, by code where the trie has a table, else in the trie's order.
        """
        trie, width = self._trie, own.shape[2]
        sought = nodes.to(torch.int32)
        start = torch.searchsorted(self.nodes[level], sought)  # (batch, beams)
        stop = torch.searchsorted(self.nodes[level], sought, right=True)
        count = ((stop - start) * is_prefix).flatten()
        n = self.nodes[level].shape[1]
        start += torch.arange(0, n * len(nodes), n, device=nodes.device)[:, None]
        beam = torch.arange(len(count), device=nodes.device).repeat_interleave(count)  # (m,)
        skipped = start.flatten() - (count.cumsum(0) - count)
        item = torch.arange(len(beam), device=nodes.device) + gather(skipped, beam)  # (m,)

        child = gather(self.nodes[level + 1].flatten(), item)
        if trie.tables[level] is not None:
            place = gather(trie.codes[level + 1], child)
        else:
            place = child - gather(trie.first_child[level], gather(nodes.flatten(), beam))
        mixed = own + self.rest[..., None]
        at = beam * width + place
        flat = mixed.view(-1)
        mass = gather(self.masses[level + 1].flatten(), item)
        flat[at] = torch.logaddexp(gather(flat, at), mass)
        return mixed


def _sums_of_runs(values: Tensor, keys: Tensor) -> Tensor:
    """For each value of a row, the sum over those whose key is its own; equal keys are neighbours.

    >>> values = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    >>> _sums_of_runs(values, torch.tensor([[5, 5, 6, 6]])).tolist()
    [[3.0, 3.0, 12.0, 12.0]]
    """
    begins = F.pad(keys[:, 1:] != keys[:, :-1], (1, 0), value=True).flatten()
    run = begins.cumsum(0) - 1
    sums = values.new_zeros(int(run[-1]) + 1).index_add_(0, run, values.flatten())
    return gather(sums, run).view(values.shape)
