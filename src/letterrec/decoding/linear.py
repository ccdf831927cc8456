"""Linear item-item models: how much each item of a history speaks for each other item.

Both are ridge regressions in closed form that predict items from items, no item from itself: EASE
("Embarrassingly Shallow Autoencoders for Sparse Data", WWW'19) predicts each item of a history from
the others, SLIST ("Session-aware Linear Item-Item Models for Session-based Recommendation", WWW'21)
predicts what came later from what came before. An item's score for a history is the sum of the
weights of the history's items.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, lapack

from letterrec.data.sequences import Histories

Weights = NDArray[np.float32]

KEPT = 200  # weights kept per item
EXACT = 30_000  # the largest catalogue that is solved as a whole: two float32 matrices of n * n
_NEIGHBOURS = 200  # in larger ones, each item is predicted from so many others
_WINDOW = 20  # items of a history that are looked at before and after each of its places
_BLOCK = 512  # rows or columns that are worked on at a time


class Moments(NamedTuple):
    """What a ridge regression needs of its data, ``n`` items predicting the same ``n`` items.

    Attributes:
        gram: float32 ``(n, n)`` second moments of the predictors, ``S'S``; symmetric.
        cross: float32 ``(n, n)`` moments of predictors (rows) and targets (columns), ``S'T``;
            None where the targets are the predictors.
    """

    gram: sp.csr_array
    cross: sp.csr_array | None = None


def ease(
    histories: Histories, n_items: int, *, ridge: float = 100.0, kept: int = KEPT
) -> sp.csr_array:
    """Weights of EASE (eq. 8 there): each item predicted from those that share a history with it.

    Args:
        histories: of training.
        n_items: in the catalogue. Up to 30,000 are solved as a whole, in ``2 n^2`` float32;
            of more, each is predicted from the 200 items that share most histories with it.
        ridge: penalty of the squared weights, in histories.
        kept: weights kept per row, the largest.

    Returns:
        float32 ``(n_items, n_items)``: the row is the item of the history, the column the item that
        it speaks for. The diagonal is zero.

    >>> weights = ease(Histories.from_lists([[0, 1], [1, 0], [2]]), 3, ridge=2.0)
    >>> weights.toarray().round(3).tolist()  # items 0 and 1 share two histories: 2 / (2 + 2)
    [[0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return fitted(whole(histories, n_items), ridge=ridge, kept=kept)


def slist(
    histories: Histories,
    n_items: int,
    *,
    ridge: float = 150.0,
    decay: float = 0.85,
    ahead: float = 0.5,
    kept: int = KEPT,
) -> sp.csr_array:
    """Weights of SLIST's transitions (eq. 9 there): what comes later, predicted from what came
    before, at every place of every history.

    Args:
        histories: of training.
        n_items: in the catalogue; see `ease`.
        ridge: penalty of the squared weights.
        decay: weight of an item that came before, relative to the item after it.
        ahead: weight of an item that comes later, relative to the item before it; 0 predicts the
            next item alone.
        kept: weights kept per row, the largest.

    Returns:
        As of `ease`.

    >>> weights = slist(Histories.from_lists([[0, 1], [0, 1]]), 3, ridge=2.0)
    >>> weights.toarray().round(3).tolist()  # 1 followed 0, and never the other way round
    [[0.0, 0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return fitted(prefixes(histories, n_items, decay, ahead), ridge=ridge, kept=kept)


def whole(histories: Histories, n_items: int) -> Moments:
    """Moments of histories whose items predict each other, each item counted once a history."""
    sequence = np.repeat(np.arange(len(histories)), histories.lengths)
    had = _table(sequence, histories.items, 1.0, (len(histories), n_items))
    had.data[:] = 1
    return Moments(sp.csr_array(had.T @ had))


def prefixes(histories: Histories, n_items: int, decay: float, ahead: float) -> Moments:
    """Moments of what came before a place of a history (predictors) and what comes from there on
    (targets), over all places but the first; up to 20 items either way.

    Args:
        histories: of training.
        n_items: in the catalogue.
        decay: weight of an item that came before, relative to the item after it.
        ahead: weight of an item that comes later, relative to the item before it.
    """
    sequence = np.repeat(np.arange(len(histories)), histories.lengths)
    shape = (len(sequence), n_items)
    before, after = sp.csr_array(shape, dtype=np.float32), sp.csr_array(shape, dtype=np.float32)
    for step in range(1, min(_WINDOW, len(sequence) - 1) + 1):
        early = np.flatnonzero(sequence[step:] == sequence[:-step])
        late = early + step
        before += _table(late, histories.items[early], decay ** (step - 1), shape)
        after += _table(early + 1, histories.items[late], ahead ** (step - 1), shape)
    return Moments(sp.csr_array(before.T @ before), sp.csr_array(before.T @ after))


def fitted(moments: Moments, *, ridge: float, kept: int = KEPT, exact: int = EXACT) -> sp.csr_array:
    """The largest weights of a ridge regression whose diagonal is zero.

    Args:
        moments: of the data.
        ridge: penalty of the squared weights.
        kept: weights kept per row.
        exact: the largest catalogue that is solved as a whole.
    """
    n = moments.gram.shape[0]
    if n > exact:
        return largest(neighbourhoods(moments, ridge), kept)
    weights = solved(moments, ridge)
    blocks = [
        largest(sp.csr_array(weights[start : start + _BLOCK]), kept)
        for start in range(0, n, _BLOCK)
    ]
    return sp.csr_array(sp.vstack(blocks, format="csr") if blocks else (n, n))


def solved(moments: Moments, ridge: float) -> Weights:
    """All weights of a ridge regression whose diagonal is zero, float32 ``(n, n)``.

    With ``P`` the inverse of ``S'S + ridge``, these are ``P S'T`` less ``P`` times what brings the
    diagonal to zero (the multipliers of that constraint); of predictors that are their own targets,
    ``1 - P / diag(P)``.
    """
    factor = moments.gram.astype(np.float32).toarray(order="F")
    places = np.arange(len(factor))
    factor[places, places] += ridge
    factor, _ = lapack.spotrf(factor, lower=1, clean=0, overwrite_a=1)
    if moments.cross is None:
        inverse, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
        weights = np.zeros_like(inverse)
        scale = 1 / inverse.diagonal()
    else:
        weights = moments.cross.astype(np.float32).toarray(order="F")
        weights, _ = lapack.spotrs(factor, weights, lower=1, overwrite_b=1)
        inverse, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
        scale = weights.diagonal() / inverse.diagonal()
    for start, stop, columns in _symmetric(inverse):
        weights[:, start:stop] -= columns * scale[start:stop]
    weights[places, places] = 0
    return np.asarray(weights, dtype=np.float32)


def neighbourhoods(moments: Moments, ridge: float, neighbours: int = _NEIGHBOURS) -> sp.csr_array:
    """Weights of the same regression, where each item is predicted from those that it goes with
    most often. The cost grows linearly with the catalogue.

    Args:
        moments: of the data.
        ridge: penalty of the squared weights.
        neighbours: predictors of each item. With all others, the result is that of `solved`.
    """
    n = moments.gram.shape[0]
    towards = moments.gram if moments.cross is None else sp.csr_array(moments.cross.T)
    together = sp.csr_array(moments.gram + towards)
    together.setdiag(0)
    together.eliminate_zeros()
    weights = largest(together, neighbours)  # a row has the predictors of its item
    place = np.full(n, -1)
    for item in range(n):
        at = slice(weights.indptr[item], weights.indptr[item + 1])
        near = weights.indices[at]
        if not len(near):
            continue
        place[near] = np.arange(len(near))
        gram = _among(moments.gram, near, place, len(near))
        target = _among(towards, np.array([item]), place, len(near))[0]
        place[near] = -1
        gram[np.diag_indices_from(gram)] += ridge
        weights.data[at] = cho_solve(cho_factor(gram, lower=True), target)
    return sp.csr_array(weights.T)


def largest(matrix: sp.csr_array, n: int) -> sp.csr_array:
    """The ``n`` largest entries of each row; of equal ones those further left."""
    lengths = np.diff(matrix.indptr)
    if lengths.max(initial=0) <= n:
        return matrix
    row = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((matrix.indices, -matrix.data, row))
    rank = np.arange(len(order)) - matrix.indptr[row]
    kept = np.sort(order[rank < n])
    data = (matrix.data[kept], (row[kept], matrix.indices[kept]))
    return sp.coo_array(data, shape=matrix.shape).tocsr()


def _table(
    rows: NDArray[np.integer], columns: NDArray[np.integer], value: float, shape: tuple[int, int]
) -> sp.csr_array:
    """``value`` at each row and column, summed where they repeat."""
    values = np.full(len(rows), value, dtype=np.float32)
    return sp.coo_array((values, (rows, columns)), shape=shape).tocsr()


def _symmetric(lower: Weights) -> Iterator[tuple[int, int, Weights]]:
    """Whole columns, a block at a time, of a symmetric matrix whose lower triangle is given."""
    for start in range(0, len(lower), _BLOCK):
        stop = min(start + _BLOCK, len(lower))
        columns = lower[:, start:stop].copy()
        columns[:start] = lower[start:stop, :start].T
        corner = np.tril(columns[start:stop])
        columns[start:stop] = corner + np.tril(corner, -1).T
        yield start, stop, columns


def _among(
    matrix: sp.csr_array, items: NDArray[np.integer], place: NDArray[np.int64], width: int
) -> Weights:
    """Rows of a sparse matrix, dense, with the columns that have a place.

    Args:
        matrix: ``(n, n)``.
        items: int ``(m,)`` rows.
        place: int64 ``(n,)`` of the columns in the result, -1 of those left out.
        width: columns of the result.
    """
    rows = matrix[items]
    columns = place[rows.indices]
    row = np.repeat(np.arange(len(items)), np.diff(rows.indptr))
    found = np.zeros((len(items), width), dtype=np.float32)
    inside = columns >= 0
    found[row[inside], columns[inside]] = rows.data[inside]
    return found
