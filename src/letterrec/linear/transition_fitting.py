"""Fitting transitions: item-to-item weights from histories, and their strengths from validation.

A ridge regression predicts the items of a history from those near them (`window_moments`), and
shrinks the weights towards the similarity of the items' contents. The strengths, such as the
share in the search, are chosen on validation data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from letterrec.data.sequences import Histories
from letterrec.data.targets import predicted
from letterrec.embeddings.similarity import as_matrix, similar_items
from letterrec.linear.by_domain import ByDomain
from letterrec.linear.events import fit_events
from letterrec.linear.moments import window_moments
from letterrec.linear.ridge import KEPT, NEIGHBOURS, fit_ridge, keep_largest, keep_positive
from letterrec.linear.transitions import SOFTNESS, Transitions
from letterrec.progress import counting

_EXACT = 4096  # the largest catalogue whose regression is solved as a whole, in seconds
_SIMILAR = 40  # items kept per item: of those that similarity adds, the first
_LIKES = (0.05, 0.1, 0.2, 0.4)
_DECAYS = (0.7, 0.85, 0.95)
_CONTEXTS = (0.5, 1.0)
_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9)


def learn_transitions(
    histories: Histories,
    n_items: int,
    similarity: sp.csr_array[np.float32] | None = None,
    *,
    window: int = 20,
    backwards: float = 0.5,
    ridge: float = 100.0,
    neighbours: int = NEIGHBOURS,
    n_behaviours: int = 1,
    targets: Sequence[int] = (),
    own: float = 1.0,
) -> tuple[Transitions, sp.csr_array[np.float32] | None]:
    """Learn transitions by a ridge regression on near items.

    Its penalty is of the difference from what similarity lets expect, ``like * similarity``, and
    its solution is linear in ``like``: so one for the data and one for the similarity serve all
    values.

    Args:
        histories: of training.
        n_items: in the catalogue. Up to 4,096 are solved as a whole, more within neighbourhoods,
            at a cost that grows linearly with them.
        similarity: from `similarity_of`; None where items have no content.
        window: places of a history from which on items do not count together.
        backwards: weight of predicting an item from one after it, relative to one before it.
        ridge: penalty of the squared weights: an item used so many times has half the weights that
            it would have without.
        neighbours: items that an item is predicted from, where not from all.
        n_behaviours: kinds of interactions. Of more than one, events predict items: the weights of
            a view and of a buy are those of the item, which both share, and their own, and what
            they predict are items of a target behaviour.
        targets: rows of the target behaviours; empty: all.
        own: of several behaviours, how far those of an item may differ; see `fit_events`.

    Returns:
        The transitions without similarity, up to 200 of each item; and float32 ``(n_items,
        n_items)``, up to 40 of each item, what similarity adds to them for a ``like`` of one, if
        there is similarity. Of several behaviours the rows are events.
    """
    if n_behaviours > 1:
        wanted = predicted(targets, n_behaviours)
        table, of_context, alike = fit_events(
            histories,
            n_items,
            similarity,
            np.isin(np.arange(n_behaviours), wanted),
            own=own,
            window=window,
            backwards=backwards,
            ridge=ridge,
            exact=_EXACT,
            neighbours=neighbours,
        )
        made = Transitions(
            table, n_behaviours=n_behaviours, targets=wanted, own=own, of_context=of_context
        )
        return made, None if alike is None else keep_largest(alike, _SIMILAR)
    gram, cross = window_moments(histories, n_items, window, backwards)
    expected = [] if similarity is None else [sp.csr_array(np.float32(ridge) * similarity)]
    found = fit_ridge(
        gram, [cross, *expected], ridge=ridge, kept=KEPT, exact=_EXACT, neighbours=neighbours
    )
    table, *similar = map(keep_positive, found)
    return Transitions(table), keep_largest(similar[0], _SIMILAR) if similar else None


def tune_strengths(
    transitions: Transitions,
    score: Callable[[Transitions], float],
    similar: sp.csr_array[np.float32] | None = None,
) -> Transitions:
    """The same transitions with the weights that score best.

    They are tuned one after the other: ``seen``, ``context`` where there is any, ``like``,
    ``decay``, ``weight``. Of equal scores the earlier one is kept.

    Args:
        transitions: from `learn_transitions`, as is ``similar``.
        score: of transitions on validation cases; higher is better.
        similar: what similarity adds; None where items have no content.
    """
    tries: list[Callable[[Transitions], Transitions]] = [
        lambda best: best,
        partial(replace, seen=0.0),
    ]
    if transitions.of_context is not None:
        tries += [partial(Transitions.with_context, context=value) for value in _CONTEXTS]
    if similar is not None:
        tries += [partial(Transitions.with_like, similar=similar, like=v) for v in _LIKES]
    tries += [partial(replace, decay=decay) for decay in _DECAYS]
    tries += [partial(replace, weight=weight) for weight in _WEIGHTS]
    best, highest = transitions, -np.inf
    with counting("transitions: strengths", len(tries)) as counter:
        for change in tries:
            one = change(best)
            reached = score(one)
            if reached > highest:
                best, highest = one, reached
            counter.advance(1)
    return best


def tune_domains(
    transitions: Transitions,
    chosen: Transitions,
    domains: Sequence[str],
    score_of: Callable[[str], Callable[[Transitions], float] | None],
    similar: sp.csr_array[np.float32] | None = None,
) -> Transitions:
    """The chosen transitions, with strengths of their own for the domains that have enough cases.

    Args:
        transitions: from `learn_transitions`, as is ``similar``.
        chosen: from `tune_strengths`, for all domains.
        domains: one per item.
        score_of: of a domain, the score of transitions on validation cases whose latest item is of
            it; None where these are too few.
        similar: what similarity adds; None where items have no content.
    """
    start = replace(transitions.with_context(chosen.context), of_context=None)
    strengths = {}
    for name in dict.fromkeys(domains):
        score = score_of(name)
        tuned = chosen if score is None else tune_strengths(start, score, similar)
        strengths[name] = tuned.strength
    return chosen.with_domains(_apart(strengths, domains), similar)


def _apart(strengths: Mapping[str, Mapping[str, float]], domains: Sequence[str]) -> ByDomain:
    """The strengths of domains, beside the domain of each item; -1 is one that has none."""
    place = {name: i for i, name in enumerate(strengths)}
    return ByDomain(strengths, np.array([place.get(name, -1) for name in domains], dtype=np.int16))


def adopt_strengths(
    transitions: Transitions,
    other: Transitions,
    similar: sp.csr_array[np.float32] | None = None,
    domains: Sequence[str] | None = None,
) -> Transitions:
    """The same transitions with the weights that were chosen for others.

    Earlier versions counted, and tried a ``like`` of 1 to 8 in the unit of counts: such a one
    becomes the largest that is tried now.

    Args:
        transitions: from `learn_transitions`, as is ``similar``.
        other: as `tune_strengths` and `tune_domains` gave them.
        similar: what similarity adds; None where items have no content.
        domains: one per item; None where there is one source.
    """
    same = replace(transitions, seen=other.seen, decay=other.decay, weight=other.weight)
    same = same.with_context(other.context)
    if similar is not None:
        same = same.with_like(similar, min(other.like, _LIKES[-1]))
    if other.by_domain is None or domains is None:
        return same
    return same.with_domains(_apart(other.by_domain.strengths, domains), similar)


def similarity_of(content: NDArray[np.float32]) -> sp.csr_array[np.float32]:
    """float32 ``(n_items, n_items)``: weights of the items similar to the row's, one in sum."""
    return as_matrix(similar_items(content, SOFTNESS), len(content))
