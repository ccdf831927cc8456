"""How beam search asks rqt for the next codes of prefixes."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from letterrec.decoding.wish_effect import WishEffect
from letterrec.linear.retrieved import Retrieved
from letterrec.recommenders.rqt.likely import Finder
from letterrec.recommenders.rqt.network import Network

_PER_CORE = 512  # prefixes whose states are in its caches
_ON_DEVICE = 2**20  # the same on an accelerator


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
        self._hidden = hidden
        self._tokens = torch.zeros(len(hidden), 1, 0, dtype=torch.int64, device=hidden.device)
        self._level = 0
        on_processor = hidden.device.type == "cpu"
        self._at_once = _PER_CORE * torch.get_num_threads() if on_processor else _ON_DEVICE

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
        network, level = self._network, self._level
        batch, beams, _ = self._tokens.shape
        prefixes = self._tokens.flatten(0, 1)  # (batch * beams, level) rows of the embeddings
        scores = torch.zeros((len(prefixes), network.sizes[level]), device=prefixes.device)
        open_ = torch.arange(len(prefixes), device=prefixes.device)
        if is_open is not None:
            open_ = open_[is_open.flatten()]
        for rows in torch.split(open_, self._at_once):
            state = self._hidden[rows // beams] + network.prefix_embedding(prefixes[rows]).sum(1)
            scores[rows] = network.code_logits(network.descend(state, level), level).float()
        return scores.view(batch, beams, -1)

    @torch.no_grad()
    def advance(self, parents: Tensor, codes: Tensor) -> None:
        """Keep the prefixes ``parents`` (int64 ``(batch, beams)``), each longer by its code."""
        start = 1 + sum(self._network.sizes[: self._level])
        kept = self._tokens.gather(1, parents[..., None].expand(-1, -1, self._tokens.shape[2]))
        self._tokens = torch.cat([kept, (codes + start)[..., None]], 2)  # (batch, beams, length)
        self._level += 1
