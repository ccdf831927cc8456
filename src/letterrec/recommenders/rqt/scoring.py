"""How likely rqt finds given items: the losses and probabilities that it is trained on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from letterrec.recommenders.base import LegalCodes
from letterrec.recommenders.losses import ranking_guided_loss
from letterrec.recommenders.rqt.network import Network


def code_loss(
    network: Network, legal: LegalCodes, hidden: Tensor, following: Tensor, temperature: float
) -> Tensor:
    """The ranking-guided loss (eq. 6) of items ``(n,)`` that follow hidden states ``(n, dim)``,
    summed over levels, mean over items.

    Args:
        network: that scores.
        legal: which codes may follow which.
        hidden: ``(n, dim)``.
        following: int64 ``(n,)`` rows of items.
        temperature: tau of the loss.
    """
    prefix = network.prefix_embedding(network.tokens[following])  # (n_targets, levels, dim)
    before = prefix.cumsum(1) - prefix  # sum over the levels before each level
    trie, prefixes = legal.on(hidden.device)
    loss = hidden.new_zeros(())
    for level, size in enumerate(network.sizes):
        nodes = prefixes[following, level]
        # Where a prefix leaves no choice there is nothing to learn.
        open_ = trie.n_children(level, nodes) > 1
        n_open = int(open_.sum())
        if n_open == 0:
            continue
        state = network.descend(hidden[open_] + before[open_, level], level)
        allowed = trie.legal(level, nodes[open_], size)
        logits = network.code_logits(state, level).masked_fill(~allowed, -torch.inf)
        targets = network.targets[following[open_], level]
        share = n_open / len(following)
        loss = loss + share * ranking_guided_loss(logits, targets, temperature)
    return loss


def item_log_probs(
    network: Network,
    legal: LegalCodes,
    hidden: Tensor,
    items: Tensor,
    *,
    share: float,
    taken: Tensor | None,
) -> Tensor:
    """The log-probabilities of items after states: those of their codes, mixed with those of the
    softmax over items, as beam search mixes them.

    Args:
        network: that scores.
        legal: which codes may follow which.
        hidden: ``(n, dim)`` states after histories.
        items: int64 ``(n, m)`` rows.
        share: of the softmax over items; the codes have the rest.
        taken: int64 ``(n, longest)`` rows that the softmax leaves out, -1 padded; None: none.

    Returns:
        float32 ``(n, m)``.
    """
    each = hidden.repeat_interleave(items.shape[1], 0)  # (n * m, dim)
    codes = _code_log_probs(network, legal, each, items.flatten()).view_as(items)
    if network.item_query is None or share == 0:
        return codes
    scores = network.item_query(hidden) @ network.items().T  # (n, n_items)
    if taken is not None:
        row, place = (taken >= 0).nonzero(as_tuple=True)
        cannot = torch.zeros_like(scores, dtype=torch.bool)
        cannot[row, taken[row, place]] = True
        scores = scores.masked_fill(cannot, -torch.inf)
    own = scores.float().log_softmax(1).gather(1, items)
    return torch.logaddexp(codes + math.log1p(-share), own + math.log(share))


def _code_log_probs(network: Network, legal: LegalCodes, hidden: Tensor, items: Tensor) -> Tensor:
    """float32 ``(n,)``: the log-probabilities of the codes of items ``(n,)`` after states
    ``(n, dim)``, over the legal codes of each level.
    """
    prefix = network.prefix_embedding(network.tokens[items])  # (n, levels, dim)
    before = prefix.cumsum(1) - prefix  # sum over the levels before each level
    trie, prefixes = legal.on(hidden.device)
    total = hidden.new_zeros(len(items), dtype=torch.float32)
    for level, size in enumerate(network.sizes):
        nodes = prefixes[items, level]
        at = (trie.n_children(level, nodes) > 1).nonzero()[:, 0]  # where there is a choice
        if not len(at):
            continue
        state = network.descend(hidden[at] + before[at, level], level)
        allowed = trie.legal(level, nodes[at], size)
        logits = network.code_logits(state, level).float().masked_fill(~allowed, -torch.inf)
        codes = network.targets[items[at], level]
        found = logits.log_softmax(1).gather(1, codes[:, None])[:, 0]
        total = total.index_add(0, at, found)
    return total
