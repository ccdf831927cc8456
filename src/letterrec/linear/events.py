"""Item-to-item weights where there are several behaviours: each event predicts items.

An event is an item together with its behaviour, such as view or buy (`Histories.events`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from letterrec.data.sequences import Histories
from letterrec.linear.moments import window_moments
from letterrec.linear.ridge import KEPT, fit_ridge, keep_largest, keep_positive


class EventWeights(NamedTuple):
    """Weights float32 ``(n_items * n_behaviours, n_items)``, events in rows, none negative.

    Attributes:
        wanted: of predicting items of the wanted behaviours, up to 200 of each event.
        context: of predicting items of the other behaviours; None where there are none.
        similar: what similarity adds to ``wanted``; None without similarity.
    """

    wanted: sp.csr_array[np.float32]
    context: sp.csr_array[np.float32] | None
    similar: sp.csr_array[np.float32] | None


def fit_events(
    histories: Histories,
    n_items: int,
    similarity: sp.csr_array[np.float32] | None,
    is_wanted: NDArray[np.bool_],
    *,
    own: float = 1.0,
    window: int,
    backwards: float,
    ridge: float,
    exact: int,
    neighbours: int,
) -> EventWeights:
    """Learn weights of events by one ridge regression on near events.

    An event has two predictors: its item, whatever the behaviour, and itself. So what the
    behaviours of an item have in common is learned from all of them.

    Args:
        histories: of training, with behaviours.
        n_items: in the catalogue.
        similarity: float32 ``(n_items, n_items)``, what is expected without data, times ``ridge``.
        is_wanted: bool ``(n_behaviours,)``.
        own: scale of the event as a predictor, relative to its item: the smaller, the more evidence
            it takes until an item's behaviours differ.
        window: of `window_moments`, as is ``backwards``.
        backwards: weight of predicting an event from one after it.
        ridge: penalty of the squared weights.
        exact: of `fit_ridge`, as is ``neighbours``; in predictors: an item has one more than
            there are behaviours.
        neighbours: predictors of each event, where not all.
    """
    n = len(is_wanted)
    one = sp.eye_array(n_items, format="csr", dtype=np.float32)
    as_predictors = expand_to_events(one, np.hstack([np.ones((n, 1)), own * np.eye(n)]))
    of_items = expand_to_events(one, np.ones((n + 1, 1)))
    gram, cross = window_moments(histories.events(n), n_items * n, window, backwards)
    targets = []
    for chosen in [is_wanted] if is_wanted.all() else [is_wanted, ~is_wanted]:
        as_targets = expand_to_events(one, np.hstack([np.zeros((n, 1)), np.diag(chosen)]))
        targets.append(sp.csr_array(as_predictors.T @ cross @ as_targets))
    if similarity is not None:
        alike = np.zeros((n + 1, n + 1))
        alike[0, 1:] = is_wanted / is_wanted.sum()  # of the item, whatever the behaviour
        targets.append(sp.csr_array(np.float32(ridge) * expand_to_events(similarity, alike)))
    found = fit_ridge(
        sp.csr_array(as_predictors.T @ gram @ as_predictors),
        targets,
        ridge=ridge,
        kept=2 * KEPT,
        exact=exact,
        neighbours=neighbours,
    )
    tables = [keep_positive(sp.csr_array(as_predictors @ (w @ of_items))) for w in found]
    similar = None if similarity is None else tables.pop()
    wanted, *context = (keep_largest(table, KEPT) for table in tables)
    return EventWeights(wanted, context[0] if context else None, similar)


def expand_to_events(
    matrix: sp.csr_array[np.float32], behaviours: NDArray[np.generic]
) -> sp.csr_array[np.float32]:
    """A matrix of items as one of events: each entry times a matrix of behaviours. Where that has
    one column, the columns stay items.
    """
    if behaviours.shape == (1, 1):
        return sp.csr_array(matrix)
    return sp.csr_array(sp.kron(matrix, behaviours.astype(np.float32), format="csr"))
