"""The beams of a language model's search, all of a prompt in one sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from letterrec.recommenders.lcrec.network import Network


class Beams:
    """The `beam_search.Decoder` of `LcRec`: prompts, each read once, and the state of their beams.

    The beams of a prompt are further positions of its sequence, side by side, and a mask lets each
    of them attend to the prompt and to its own ancestors alone. So the cache holds the keys and
    values of a prompt once for all of its beams, and those of a code once for all beams that go on
    from it.

    Args:
        network: that reads and scores.
        tokens: int64 ``(batch, s)`` prompts, left-aligned.
        lengths: int64 ``(batch,)`` tokens of each.
    """

    over_legal = True
    wish_effect: None = None
    retrieved: None = None

    @torch.no_grad()
    def __init__(self, network: Network, tokens: Tensor, lengths: Tensor) -> None:
        from transformers import DynamicCache

        self._network, self._lengths = network, lengths
        self._level = 0
        self._cache = DynamicCache()
        states = network.read(tokens, cache=self._cache)
        row = torch.arange(len(tokens), device=tokens.device)
        self._state = states[row, lengths - 1][:, None]  # (batch, beams, d)
        place = torch.arange(tokens.shape[1], device=tokens.device)
        self._visible = (place < lengths[:, None])[:, None]  # (batch, beams, places)

    def limit(self, allowed: Tensor) -> None:
        """Nothing: no items are retrieved."""

    @torch.no_grad()
    def log_probs(self, is_open: Tensor | None = None) -> Tensor:
        """float32 ``(batch, beams, n_codes)``: the logits of this level's codes after each beam."""
        return self._network.code_logits(self._state, self._level)

    @torch.no_grad()
    def advance(self, parents: Tensor, codes: Tensor) -> None:
        """Append ``codes`` to the beams ``parents``, both int64 ``(batch, beams)``."""
        batch, beams = codes.shape
        ancestors = self._visible.shape[2]
        own = torch.eye(beams, dtype=torch.bool, device=codes.device).expand(batch, -1, -1)
        inherited = self._visible.gather(1, parents[..., None].expand(-1, -1, ancestors))
        self._visible = torch.cat([inherited, own], 2)  # (batch, beams, places + beams)
        network = self._network
        tokens = network.code_tokens[network.offsets[self._level] + codes]
        self._state = network.read(
            tokens,
            cache=self._cache,
            visible=self._visible[:, None],
            positions=(self._lengths + self._level)[:, None].expand(-1, beams),
        )
        self._level += 1
