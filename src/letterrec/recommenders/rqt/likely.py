"""The items that the softmax over items finds likely, mixed into the ranking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from letterrec.linear.retrieved import Retrieved
from letterrec.training.devices import has_bfloat16

_LIKELY = 50  # items that are mixed in

Finder = Callable[[Tensor | None], Retrieved]  # of likely items among those allowed, None: all
Made = TypeVar("Made")


class Kept(Generic[Made]):
    """Something made of a catalogue, and kept for the next query on the same one.

    It is kept beside the tokens of the catalogue that it is of, since a catalogue may be replaced
    while queries of the one before are answered.
    """

    def __init__(self) -> None:
        self._kept: tuple[Tensor, Made] | None = None

    def of(self, tokens: Tensor, make: Callable[[], Made]) -> Made:
        """What is kept of a catalogue with these tokens; made, where nothing is."""
        kept = self._kept
        if kept is None or kept[0] is not tokens:
            kept = self._kept = (tokens, make())
        return kept[1]

    def forget(self) -> None:
        """Make it anew for the next query."""
        self._kept = None


class ItemTable(NamedTuple):
    """What stands for each item in the softmax over items.

    Attributes:
        items: float32 ``(n_items, d)``.
        rough: the same, in bfloat16 where that is fast: it finds the likely items.
    """

    items: Tensor
    rough: Tensor

    @classmethod
    def of(cls, items: Tensor) -> ItemTable:
        """A table of items ``(n_items, d)`` and of its rough copy."""
        return cls(items, items.to(torch.bfloat16) if has_bfloat16() else items)

    def scores(self, query: Tensor, gone: Tensor, taken: Tensor | None) -> Tensor:
        """Rough scores of all items, float32 ``(batch, n_items)``; ``-inf`` of those that cannot
        come.

        Args:
            query: ``(batch, d)``.
            gone: int64 ``(n,)`` rows of items that are there no more.
            taken: int64 ``(batch, longest)`` rows of items that cannot come again, -1 padded.
        """
        scores = (query.to(self.rough.dtype) @ self.rough.T).float()
        scores[:, gone[gone < scores.shape[1]]] = -torch.inf
        if taken is not None:
            row, place = (taken >= 0).nonzero(as_tuple=True)
            scores[row, taken[row, place]] = -torch.inf
        return scores


@dataclass(frozen=True, eq=False)
class Likely:
    """Finds the likeliest items for a batch of queries.

    Attributes:
        table: of the items.
        query: ``(batch, d)``.
        scores: float32 ``(batch, n_items)`` of `ItemTable.scores`; exact ones take their place.
        share: of the probability that all items have together.
    """

    table: ItemTable
    query: Tensor
    scores: Tensor
    share: float

    def among(self, allowed: Tensor | None) -> Retrieved:
        """The likeliest items by rough scores, with their exact shares.

        Args:
            allowed: bool ``(n_items,)`` or ``(batch, n_items)``; None: all.
        """
        scores, candidates = self.scores, self.scores
        if allowed is not None:  # one flag less for an item that has come since
            flags = allowed[..., : scores.shape[1]].expand(len(scores), -1)
            candidates = scores.clone()
            candidates[:, : flags.shape[1]].masked_fill_(~flags, -torch.inf)
        rough, items = candidates.topk(min(_LIKELY, scores.shape[1]), dim=1)  # (batch, n)
        exact = (self.table.items[items] @ self.query[..., None]).squeeze(2)
        exact = exact.masked_fill(scores.gather(1, items) == -torch.inf, -torch.inf)
        scores.scatter_(1, items, exact)
        shares = scores.log_softmax(1).gather(1, items).exp()
        shares = shares.masked_fill(rough == -torch.inf, 0.0)
        return Retrieved(items, self.share * shares)
