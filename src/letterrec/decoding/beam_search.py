"""Beam search over the trie of identifiers: from scores of codes to the best items.

Every step works on all beams of all users at once. Its cost depends on the beam and on the largest
number of children of a node, not on the number of items.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from letterrec.decoding.constraints import Constraints
from letterrec.decoding.mixture import Mixture
from letterrec.decoding.topk import DEAD, best_log_probs
from letterrec.decoding.trie import Trie, gather
from letterrec.decoding.wish_effect import WishEffect
from letterrec.errors import RequestError
from letterrec.linear.retrieved import Retrieved

_AT_ONCE = 2**17  # candidates per piece of work: what caches hold
_ON_DEVICE = 2**24  # the same on an accelerator: some hundred MiB


class Decoder(Protocol):
    """A batch of histories, encoded once, that scores the next codes of the prefixes it is told.

    Attributes:
        over_legal: whether the scores are still to be normalised over the legal codes: the
            log-probabilities of all items then sum to one.
    """

    over_legal: bool

    @property
    def wish_effect(self) -> WishEffect | None:
        """What wishes change in the search; None where there is none."""

    @property
    def retrieved(self) -> Retrieved | None:
        """Items that have a share of the decoder's probability of their own; the codes have the
        rest. None where the codes have all.
        """

    def limit(self, allowed: Tensor) -> None:
        """Retrieve only items that may come back.

        Args:
            allowed: bool ``(n_items,)`` or ``(batch, n_items)``.
        """

    def log_probs(self, is_open: Tensor | None = None) -> Tensor:
        """float32 ``(batch, beams, codes of this level)``: log-probability of each next code after
        each prefix; one beam at level 0, the empty prefix.

        Args:
            is_open: bool ``(batch, beams)``: after which prefixes there is a choice. Where scores
                are normalised over the legal codes, those of the others make no difference; they
                only have to be numbers. None: after all.
        """

    def advance(self, parents: Tensor, codes: Tensor) -> None:
        """Go on to the next level.

        Args:
            parents: int64 ``(batch, beams)``: the beam of this level that each new prefix extends.
            codes: int64 ``(batch, beams)``: the code appended to it; 0 where a shorter identifier
                has ended or there are fewer prefixes than beams: what is said of those is ignored.
        """


@torch.no_grad()
def search(
    decoder: Decoder,
    trie: Trie,
    *,
    beam: int,
    k: int,
    seen: Tensor | None = None,
    allowed: Tensor | None = None,
    retrieved: Retrieved | None = None,
    allowed_before: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The ``k`` best items of each history in the decoder.

    At every level the ``beam`` best prefixes go on that lead to an item neither seen nor excluded:
    ``k`` valid items come back whenever ``k`` exist, and with a beam as wide as the catalogue the
    lists are the full ranking. An ended shorter identifier keeps its score. Ties go to the better
    beam, then to the smaller code; items that share an identifier follow by popularity.

    Args:
        decoder: at level 0, on the device of ``trie``.
        trie: the identifiers of the catalogue.
        beam: prefixes kept per level; raised to ``k`` where it is smaller.
        k: items wanted.
        seen: int64 ``(batch, n)`` item rows to leave out, -1 padded.
        allowed: bool ``(n_items,)`` or ``(batch, n_items)``: the items that may come back.
        retrieved: items with a share of the probability of their own; the scores are then those
            of the mixture of these and the decoder's. Items that share an identifier share its
            mass.
        allowed_before: `constraints.counted` of ``allowed``, where that is known already.

    Returns:
        int64 ``(batch, k)`` item rows, best first, -1 where fewer exist, and their float32
        ``(batch, k)`` log-probabilities, ``-inf`` where there is no item.

    Raises:
        RequestError: ``beam`` or ``k`` is below 1; ``allowed`` does not fit the catalogue; the
            decoder's scores are not numbers.
    """
    if beam < 1 or k < 1:
        raise RequestError(f"beam {beam} and k {k}: expected both to be at least 1; raise them")
    if allowed is not None and allowed.shape[-1] != trie.n_items:
        raise RequestError(
            f"allowed covers {allowed.shape[-1]} items: expected one flag for each of the "
            f"{trie.n_items} items of the catalogue"
        )
    beam = max(beam, k)
    if decoder.wish_effect is not None:
        narrowed = decoder.wish_effect.allowed(allowed, trie.n_items)
        allowed_before = allowed_before if narrowed is allowed else None
        allowed = narrowed
        retrieved = None if retrieved is None else decoder.wish_effect.weighed(retrieved)
    valid = None
    if seen is not None or allowed is not None:
        valid = Constraints.of(trie, seen, allowed, allowed_before)
    mixture = None
    likely = decoder.retrieved
    if likely is not None:  # the recommender may know items that have come since this trie
        beyond = likely.items >= trie.n_items
        likely = Retrieved(likely.items.masked_fill(beyond, -1), likely.shares)
        retrieved = likely if retrieved is None else retrieved.before(likely)
    if retrieved is not None:
        mixture = Mixture.of(trie, retrieved if valid is None else valid.among(retrieved))
    log_probs = decoder.log_probs()
    if bool(log_probs.sum().isnan()):
        raise RequestError(
            "the recommender's scores are not numbers (NaN): its training diverged; "
            "fit it again with a lower training.learning_rate"
        )
    batch = len(log_probs)
    nodes = log_probs.new_zeros((batch, 1), dtype=torch.int64)
    own = scores = log_probs.new_zeros((batch, 1))  # of the decoder, and of the mixture
    at_once = _AT_ONCE if nodes.device.type == "cpu" else _ON_DEVICE
    for level in range(trie.n_levels):
        keep = min(beam, trie.n_nodes(level + 1))
        step = max(1, at_once // (nodes.shape[1] * trie.widths[level]))
        parts = [
            _extend(
                trie,
                level,
                nodes[rows : rows + step],
                own[rows : rows + step],
                log_probs[rows : rows + step],
                decoder.over_legal,
                keep,
                None if valid is None else valid.rows(rows, rows + step),
                None if mixture is None else mixture.rows(rows, rows + step),
            )
            for rows in range(0, batch, step)
        ]
        parents, nodes, codes, own, scores = (torch.cat(p) for p in zip(*parts, strict=True))
        if level + 1 < trie.n_levels:
            decoder.advance(parents, codes)
            is_open = trie.n_children(level + 1, nodes) > 1 if decoder.over_legal else None
            log_probs = decoder.log_probs(is_open)
    return _items_of(trie, nodes, scores, k, valid)


def _extend(
    trie: Trie,
    level: int,
    nodes: Tensor,
    own: Tensor,
    log_probs: Tensor,
    over_legal: bool,
    beam: int,
    valid: Constraints | None,
    mixture: Mixture | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The best children of the prefixes: parents, nodes, codes, the decoder's scores and those of
    the mixture, each (batch, beam).
    """
    table = trie.tables[level]
    if table is not None:
        children = F.embedding(nodes, table)  # (batch, beams, width), -1 where none
        gained = log_probs.masked_fill(children < 0, DEAD)
    else:
        children, gained = _children(trie, level, nodes, log_probs)
    if over_legal:
        gained = gained.log_softmax(2)
    decoded = candidates = gained.add_(own[..., None])
    if mixture is not None:
        candidates = mixture.mixed(level, nodes, own > DEAD / 2, decoded)
    if valid is not None and valid.allowed_before is not None:
        n_allowed = valid.n_allowed(level + 1, children.clamp(min=0))
        candidates.masked_fill_(n_allowed == 0, DEAD)
    width = candidates.shape[2]
    candidates, children = candidates.flatten(1), children.flatten(1)  # (batch, beams * width)

    dead = None if valid is None else valid.nodes_seen(level + 1)  # (batch, n_dead)
    spare = 0 if dead is None else dead.shape[1]
    best = best_log_probs(candidates, min(beam + spare, candidates.shape[1]))
    if dead is not None and spare:
        best = _drop_dead(best, candidates, children, dead)
    best = best[:, :beam]
    scores = candidates.gather(1, best)
    nodes = children.gather(1, best).clamp_(min=0).to(torch.int64)
    codes = gather(trie.codes[level + 1], nodes).to(torch.int64).clamp_(min=0)
    own = scores if mixture is None else decoded.flatten(1).gather(1, best)
    return best // width, nodes, codes, own, scores


def _children(trie: Trie, level: int, nodes: Tensor, log_probs: Tensor) -> tuple[Tensor, Tensor]:
    """The children of each prefix and what their code adds: (batch, beams, most children)."""
    steps = torch.arange(trie.widths[level], dtype=torch.int32, device=nodes.device)
    start = gather(trie.first_child[level], nodes)[..., None]  # (batch, beams, 1)
    count = gather(trie.first_child[level], nodes + 1)[..., None] - start
    children = (start + steps).clamp_(max=trie.n_nodes(level + 1) - 1)
    codes = gather(trie.codes[level + 1], children).to(torch.int64)
    if trie.has_shorter:
        gained = log_probs.gather(2, codes.clamp(min=0)).masked_fill_(codes < 0, 0.0)
    else:
        gained = log_probs.gather(2, codes)
    return children, gained.masked_fill_(steps >= count, DEAD)


def _drop_dead(best: Tensor, candidates: Tensor, children: Tensor, dead: Tensor) -> Tensor:
    """The dead candidates behind the others; their scores become those of no candidate."""
    nodes = children.gather(1, best)
    at = torch.searchsorted(dead, nodes).clamp_(max=dead.shape[1] - 1)
    is_dead = dead.gather(1, at) == nodes
    scores = candidates.gather(1, best).masked_fill_(is_dead, DEAD)
    candidates.scatter_(1, best, scores)
    return best.gather(1, is_dead.to(torch.uint8).argsort(dim=1, stable=True))


def _items_of(
    trie: Trie, nodes: Tensor, scores: Tensor, k: int, valid: Constraints | None
) -> tuple[Tensor, Tensor]:
    """The first ``k`` valid items of the identifiers, each with its identifier's score."""
    first_item = trie.first_item[-1]
    positions = gather(first_item, nodes)  # (batch, beams)
    if trie.most_sharing > 1:
        steps = torch.arange(trie.most_sharing, dtype=torch.int32, device=nodes.device)
        stop = gather(first_item, nodes + 1)[..., None]
        positions = positions[..., None] + steps  # (batch, beams, most sharing)
        gone = (positions >= stop).flatten(1)
        positions = positions.clamp_(max=trie.n_items - 1).flatten(1)
        if valid is not None:
            gone |= ~valid.items(positions)
        scores = scores.repeat_interleave(trie.most_sharing, dim=1).masked_fill_(gone, DEAD)
        order = (scores == DEAD).to(torch.uint8).argsort(dim=1, stable=True)[:, :k]
        positions, scores = positions.gather(1, order), scores.gather(1, order)
    items = gather(trie.items, positions[:, :k]).to(torch.int64)
    scores = scores[:, :k]
    nothing = scores == DEAD
    missing = (0, k - items.shape[1])
    return (
        F.pad(items.masked_fill(nothing, -1), missing, value=-1),
        F.pad(scores.masked_fill(nothing, -torch.inf), missing, value=-torch.inf),
    )
