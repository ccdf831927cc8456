"""How beam search asks rqt for the next codes of prefixes."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from letterrec.decoding.wish_effect import WishEffect
from letterrec.linear.retrieved import Retrieved
from letterrec.recommenders.rqt.likely import Finder
from letterrec.recommenders.rqt.network import Network


class RqtDecoder:
    """A `beam_search.Decoder`: the history is one vector per query by now.

    Args:
        network: that scores.
        hidden: ``(batch, dim)`` states after the histories.
        likely: finds the items that have a share of the probability beside the codes; None: none.
        wish_effect: what wishes change in the search.
    """

    over_legal = True

    def __init__(
        self,
        network: Network,
        hidden: Tensor,
        likely: Finder | None,
        wish_effect: WishEffect | None = None,
    ) -> None:
        self.wish_effect = wish_effect
        self._likely = likely
        self._allowed: Tensor | None = None
        self._network = network
        self._hidden = hidden[:, None]  # (batch, 1, dim)
        self._prefix = torch.zeros_like(self._hidden)  # (batch, beams, dim)
        self._level = 0

    def limit(self, allowed: Tensor) -> None:
        """See `Decoder.limit`: likely items are looked for among those allowed."""
        self._allowed = allowed

    @cached_property
    @torch.no_grad()
    def retrieved(self) -> Retrieved | None:
        """What the softmax over items finds likely among the items that are allowed."""
        likely, self._likely = self._likely, None  # which holds scores of all items
        return None if likely is None else likely(self._allowed)

    @torch.no_grad()
    def log_probs(self, is_open: Tensor | None = None) -> Tensor:
        """float32 ``(batch, beams, codes)``: scores of each next code, up to a constant; 0 after
        prefixes that are not open: most at the later levels of a catalogue.
        """
        state = self._hidden + self._prefix  # (batch, beams, dim)
        if is_open is None:
            return self._scores(state)
        scores = torch.zeros(
            (*is_open.shape, self._network.sizes[self._level]), device=state.device
        )
        if bool(is_open.any()):
            scores[is_open] = self._scores(state[is_open])
        return scores

    @torch.no_grad()
    def advance(self, parents: Tensor, codes: Tensor) -> None:
        """Keep the prefixes ``parents`` (int64 ``(batch, beams)``), each longer by its code."""
        start = 1 + sum(self._network.sizes[: self._level])
        kept = self._prefix.gather(1, parents[..., None].expand(-1, -1, self._prefix.shape[2]))
        self._prefix = kept + self._network.prefix_embedding.weight[codes + start]
        self._level += 1

    def _scores(self, state: Tensor) -> Tensor:
        network, level = self._network, self._level
        return network.code_logits(network.descend(state, level), level).float()
