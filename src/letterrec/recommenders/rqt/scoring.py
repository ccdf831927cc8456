"""How likely rqt finds given items: the losses and probabilities that it is trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
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
    loss = hidden.new_zeros(())
    for open_, logits, codes in _choices(network, legal, hidden, following):
        share = len(open_) / len(following)
        loss = loss + share * ranking_guided_loss(logits, codes, temperature)
    return loss


def behaviour_loss(network: Network, groups: Sequence[Tensor], states: Sequence[Tensor]) -> Tensor:
    """Cross-entropy of the behaviour of each event that follows others, mean over them.

    Args:
        network: that predicts behaviours.
        groups: int64 ``(sequences, longest)`` events each, left-aligned, -1 padded.
        states: of each group, those before each of its events but the first.
    """
    logits, wanted = [], []
    for events, state in zip(groups, states, strict=True):
        there = events[:, 1:] >= 0
        logits.append(network.behaviour_logits(events[:, :-1], state)[there])
        wanted.append(events[:, 1:][there].remainder(network.n_behaviours))
    return F.cross_entropy(torch.cat(logits).float(), torch.cat(wanted))


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
    total = hidden.new_zeros(len(items), dtype=torch.float32)
    for open_, logits, codes in _choices(network, legal, hidden, items):
        found = logits.float().log_softmax(1).gather(1, codes[:, None])[:, 0]
        total = total.index_add(0, open_, found)
    return total


def _choices(
    network: Network, legal: LegalCodes, hidden: Tensor, items: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Level by level, the items whose prefix leaves a choice; elsewhere there is nothing to learn.

    Args:
        network: that scores.
        legal: which codes may follow which.
        hidden: ``(n, dim)`` states that the items follow.
        items: int64 ``(n,)`` rows.

    Yields:
        The places int64 ``(m,)`` of these items, the logits ``(m, codes of the level)``, ``-inf``
        of codes that are not legal, and the items' own codes int64 ``(m,)``; ``m`` at least 1.
    """
    prefix = network.prefix_embedding(network.tokens[items])  # (n, levels, dim)
    before = prefix.cumsum(1) - prefix  # sum over the levels before each level
    trie, prefixes = legal.on(hidden.device)
    for level, size in enumerate(network.sizes):
        nodes = prefixes[items, level]
        open_ = (trie.n_children(level, nodes) > 1).nonzero()[:, 0]
        if not len(open_):
            continue
        state = network.descend(hidden[open_] + before[open_, level], level)
        allowed = trie.legal(level, nodes[open_], size)
        logits = network.code_logits(state, level).masked_fill(~allowed, -torch.inf)
        yield open_, logits, network.targets[items[open_], level]
