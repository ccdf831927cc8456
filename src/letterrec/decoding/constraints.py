"""Which items of the trie may come back: those that are allowed and not seen.

They are kept as counts of valid items below the nodes of the trie, so that beam search never
spends a place on a prefix that leads to none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from letterrec.decoding.trie import Trie, gather
from letterrec.linear.retrieved import Retrieved

_NONE = torch.iinfo(torch.int32).max  # sorts behind every position and every node


def counted(trie: Trie, allowed: Tensor) -> Tensor:
    """int32 ``(1 or batch, n_items + 1)``: how many allowed items stand before each place of the
    trie; so any range of it says at once whether it holds one.

    Args:
        trie: of the catalogue.
        allowed: bool ``(n_items,)`` or ``(batch, n_items)``.
    """
    sorted_flags = allowed.reshape(-1, trie.n_items).index_select(1, trie.items)
    return F.pad(sorted_flags.cumsum(1, dtype=torch.int32), (1, 0))


class Constraints:
    """Which items may come back, for a batch of histories.

    Attributes:
        allowed_before: int32 ``(1 or batch, n_items + 1)``: the number of allowed items before each
            position of the trie; None if all are allowed.
        seen: int32 ``(batch, n)`` distinct positions in the trie of the seen items that are
            allowed, ascending, padded by `_NONE`; None if nothing is seen.
    """

    def __init__(self, trie: Trie, allowed_before: Tensor | None, seen: Tensor | None) -> None:
        self._trie = trie
        self.allowed_before = allowed_before
        self.seen = seen

    @classmethod
    def of(
        cls,
        trie: Trie,
        seen: Tensor | None,
        allowed: Tensor | None,
        allowed_before: Tensor | None = None,
    ) -> Constraints:
        """Build them from the arguments ``seen``, ``allowed`` and ``allowed_before`` of
        `beam_search.search`.
        """
        if allowed is not None and allowed_before is None:
            allowed_before = counted(trie, allowed)
        valid = cls(trie, allowed_before, None)
        if seen is not None and seen.shape[1] > 0:
            valid.seen = valid._positions(seen)
        return valid

    def rows(self, start: int, stop: int) -> Constraints:
        """The part of the batch from row ``start`` up to ``stop``."""
        allowed, seen = self.allowed_before, self.seen
        return Constraints(
            self._trie,
            allowed if allowed is None or len(allowed) == 1 else allowed[start:stop],
            None if seen is None else seen[start:stop],
        )

    def _positions(self, seen: Tensor) -> Tensor:
        positions = gather(self._trie.position, seen.clamp(min=0))
        ignored = seen < 0
        if self.allowed_before is not None:
            ignored = ignored | (self._allowed_between(positions, positions + 1) == 0)
        positions = positions.masked_fill(ignored, _NONE).sort(dim=1).values
        again = positions[:, 1:] == positions[:, :-1]
        positions[:, 1:].masked_fill_(again, _NONE)
        return positions.sort(dim=1).values

    def among(self, retrieved: Retrieved) -> Retrieved:
        """The retrieved items, without those that are not valid."""
        valid = self.items(gather(self._trie.position, retrieved.items.clamp(min=0)))
        return Retrieved(retrieved.items.masked_fill(~valid, -1), retrieved.shares)

    def n_allowed(self, level: int, nodes: Tensor) -> Tensor:
        """int32, the shape of ``nodes`` (batch first): allowed items below each node."""
        first_item = self._trie.first_item[level]
        start, stop = gather(first_item, nodes), gather(first_item, nodes + 1)
        return stop - start if self.allowed_before is None else self._allowed_between(start, stop)

    def _allowed_between(self, start: Tensor, stop: Tensor) -> Tensor:
        assert self.allowed_before is not None
        rows = len(self.allowed_before)
        if rows == 1:
            return gather(self.allowed_before[0], stop) - gather(self.allowed_before[0], start)
        flat = self.allowed_before.view(-1)
        row = torch.arange(rows, device=start.device) * self.allowed_before.shape[1]
        row = row.view(-1, *[1] * (start.dim() - 1))
        return gather(flat, stop + row) - gather(flat, start + row)

    def nodes_seen(self, level: int) -> Tensor | None:
        """int32 ``(batch, n)``: the nodes of a level below which all allowed items are seen,
        ascending, padded by `_NONE`; None if nothing is seen.
        """
        if self.seen is None:
            return None
        nodes = torch.searchsorted(
            self._trie.first_item[level], self.seen, right=True, out_int32=True
        ).sub_(1)
        nodes.masked_fill_(self.seen == _NONE, _NONE)
        n_seen = torch.searchsorted(nodes, nodes, right=True) - torch.searchsorted(nodes, nodes)
        last = self._trie.n_nodes(level) - 1
        all_seen = n_seen == self.n_allowed(level, nodes.clamp(max=last))
        all_seen &= nodes != _NONE
        all_seen[:, 1:] &= nodes[:, 1:] != nodes[:, :-1]
        most = int(all_seen.sum(1).max())
        return nodes.masked_fill(~all_seen, _NONE).sort(dim=1).values[:, :most].contiguous()

    def items(self, positions: Tensor) -> Tensor:
        """bool ``(batch, n)``: whether the items at these positions of the trie are valid."""
        ok = torch.ones_like(positions, dtype=torch.bool)
        if self.allowed_before is not None:
            ok &= self._allowed_between(positions, positions + 1) > 0
        if self.seen is not None:
            at = torch.searchsorted(self.seen, positions).clamp_(max=self.seen.shape[1] - 1)
            ok &= self.seen.gather(1, at) != positions
        return ok
