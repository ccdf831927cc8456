"""EASE and SLIST: item-to-item weights by ridge regressions whose diagonal is zero.

EASE ("Embarrassingly Shallow Autoencoders for Sparse Data", WWW'19) predicts each item of a history
from the others. SLIST ("Session-aware Linear Item-Item Models for Session-based Recommendation",
WWW'21) predicts the items that came later from those that came before. An item's score for a
history is the sum of the weights from the history's items to it.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from letterrec.data.sequences import Histories
from letterrec.linear.moments import history_moments, prefix_moments
from letterrec.linear.ridge import KEPT, fit_ridge


def fit_ease(
    histories: Histories, n_items: int, *, ridge: float = 100.0, kept: int = KEPT
) -> sp.csr_array[np.float32]:
    """Weights of EASE (eq. 8 there): each item predicted from those that share a history with it.

    Args:
        histories: of training.
        n_items: in the catalogue. Up to 30,000 are solved as a whole, in ``2 n^2`` float32;
            of more, each is predicted from the 200 items that share most histories with it.
        ridge: penalty of the squared weights, in histories.
        kept: weights kept per row, the largest.

    Returns:
        float32 ``(n_items, n_items)``: the row is the item of the history, the column the item that
        it predicts. The diagonal is zero.

    >>> weights = fit_ease(Histories.from_lists([[0, 1], [1, 0], [2]]), 3, ridge=2.0)
    >>> weights.toarray().round(3).tolist()  # items 0 and 1 share two histories: 2 / (2 + 2)
    [[0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    gram = history_moments(histories, n_items)
    (weights,) = fit_ridge(gram, [gram], ridge=ridge, kept=kept)
    return weights


def fit_slist(
    histories: Histories,
    n_items: int,
    *,
    ridge: float = 150.0,
    decay: float = 0.85,
    ahead: float = 0.5,
    kept: int = KEPT,
) -> sp.csr_array[np.float32]:
    """Weights of SLIST's transitions (eq. 9 there): what comes later, predicted from what came
    before, at every place of every history.

    Args:
        histories: of training.
        n_items: in the catalogue; see `fit_ease`.
        ridge: penalty of the squared weights.
        decay: weight of an item that came before, relative to the item after it.
        ahead: weight of an item that comes later, relative to the item before it; 0 predicts the
            next item alone.
        kept: weights kept per row, the largest.

    Returns:
        As of `fit_ease`.

    >>> weights = fit_slist(Histories.from_lists([[0, 1], [0, 1]]), 3, ridge=2.0)
    >>> weights.toarray().round(3).tolist()  # 1 followed 0, and never the other way round
    [[0.0, 0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    gram, cross = prefix_moments(histories, n_items, decay, ahead)
    (weights,) = fit_ridge(gram, [cross], ridge=ridge, kept=kept)
    return weights
