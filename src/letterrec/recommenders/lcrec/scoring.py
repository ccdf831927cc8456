"""How likely a language model finds given codes: the loss that it is trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from letterrec.recommenders.base import LegalCodes
from letterrec.recommenders.lcrec.network import Network
from letterrec.recommenders.losses import ranking_guided_loss


def code_loss(
    network: Network,
    legal: LegalCodes | None,
    hidden: Tensor,
    items: Tensor,
    levels: Tensor,
    temperature: float,
) -> Tensor:
    """The ranking-guided loss (eq. 6) of ``n`` wanted codes, summed; float32.

    Args:
        network: that scores.
        legal: which codes may follow which; None: the loss is over all codes of a level.
        hidden: float ``(n, d)`` states that the codes are predicted from.
        items: int64 ``(n,)`` items that the codes belong to.
        levels: int64 ``(n,)`` levels of the codes.
        temperature: tau of the loss.
    """
    loss = hidden.new_zeros((), dtype=torch.float32)
    for level, size in enumerate(network.sizes):
        at = (levels == level).nonzero()[:, 0]
        allowed: Tensor | None = None
        if legal is not None:
            trie, prefixes = legal.on(hidden.device)
            nodes = prefixes[items[at], level]
            # Where a prefix leaves no choice there is nothing to learn.
            open_ = trie.n_children(level, nodes) > 1
            at = at[open_]
            allowed = trie.legal(level, nodes[open_], size)
        if not len(at):
            continue
        logits = network.code_logits(hidden[at], level)
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
        codes = network.item_codes[items[at], level]
        loss = loss + len(at) * ranking_guided_loss(logits, codes, temperature)
    return loss
