"""Linear item-item models: how much each item of a history speaks for each other item.

Both are ridge regressions in closed form that predict items from items, no item from itself: EASE
("Embarrassingly Shallow Autoencoders for Sparse Data", WWW'19) predicts each item of a history from
the others, SLIST ("Session-aware Linear Item-Item Models for Session-based Recommendation", WWW'21)
predicts what came later from what came before. An item's score for a history is the sum of the
weights of the history's items.

A regression needs two matrices of its data, both float32 ``(n, n)`` for ``n`` items: ``gram``, the
second moments ``S'S`` of the predictors, and ``cross``, the moments ``S'T`` of predictors (rows)
and targets (columns).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, lapack

from letterrec.data.sequences import Histories

Weights = NDArray[np.float32]

KEPT = 200  # weights kept per item
EXACT = 30_000  # the largest catalogue that is solved as a whole, in two float32 matrices of n * n
NEIGHBOURS = 200  # in larger ones, each item is predicted from so many others
_WINDOW = 20  # items of a history that are looked at before and after each of its places
_BLOCK = 512  # rows or columns that are worked on at a time


def ease(
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
        it speaks for. The diagonal is zero.

    >>> weights = ease(Histories.from_lists([[0, 1], [1, 0], [2]]), 3, ridge=2.0)
    >>> weights.toarray().round(3).tolist()  # items 0 and 1 share two histories: 2 / (2 + 2)
    [[0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    gram = whole(histories, n_items)
    (weights,) = fitted(gram, [gram], ridge=ridge, kept=kept)
    return weights


def slist(
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
    gram, cross = prefixes(histories, n_items, decay, ahead)
    (weights,) = fitted(gram, [cross], ridge=ridge, kept=kept)
    return weights


def whole(histories: Histories, n_items: int) -> sp.csr_array[np.float32]:
    """``gram``, and ``cross`` too, of histories whose items predict each other, each item counted
    once a history.
    """
    sequence = np.repeat(np.arange(len(histories)), histories.lengths)
    had = _table(sequence, histories.items, 1.0, (len(histories), n_items))
    had.data[:] = 1
    return sp.csr_array(had.T @ had)


def prefixes(
    histories: Histories, n_items: int, decay: float, ahead: float
) -> tuple[sp.csr_array[np.float32], sp.csr_array[np.float32]]:
    """``gram`` and ``cross`` of what came before a place of a history (predictors) and what comes
    from there on (targets), over all places but the first; up to 20 items either way.

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
    return sp.csr_array(before.T @ before), sp.csr_array(before.T @ after)


def nearby(
    histories: Histories, n_items: int, window: int, backwards: float
) -> tuple[sp.csr_array[np.float32], sp.csr_array[np.float32]]:
    """``gram`` and ``cross`` of histories whose items predict each other, the more the nearer they
    are.

    Two items of a history that are ``d`` places apart count ``1 - d / window``: the share of the
    windows of so many places over the one that hold the other as well. So ``gram`` is a sum of
    windows' second moments, and positive semi-definite.

    Args:
        histories: of training.
        n_items: in the catalogue.
        window: places from which on items do not count together.
        backwards: weight of predicting an item from one after it, relative to one before it.
    """
    shape = (n_items, n_items)
    sequence = np.repeat(np.arange(len(histories)), histories.lengths)
    onwards = sp.csr_array(shape, dtype=np.float32)
    for step in range(1, min(window, histories.lengths.max(initial=1))):
        before = np.flatnonzero(sequence[step:] == sequence[:-step])
        pairs = histories.items[before], histories.items[before + step]
        onwards += _table(*pairs, 1 - step / window, shape)
    counts = np.bincount(histories.items, minlength=n_items).astype(np.float32)
    gram = onwards + onwards.T + sp.diags_array(counts)
    return sp.csr_array(gram), sp.csr_array(onwards + np.float32(backwards) * onwards.T)


def positive(matrix: sp.csr_array[np.float32]) -> sp.csr_array[np.float32]:
    """The entries above zero: what speaks against an item has no place in a share."""
    kept = sp.csr_array(matrix.maximum(0), dtype=np.float32)
    kept.eliminate_zeros()
    return kept


def fitted(
    gram: sp.csr_array[np.float32],
    targets: Sequence[sp.csr_array[np.float32]],
    *,
    ridge: float,
    kept: int = KEPT,
    exact: int = EXACT,
    neighbours: int = NEIGHBOURS,
) -> list[sp.csr_array[np.float32]]:
    """The largest weights of ridge regressions whose diagonal is zero.

    Args:
        gram: of the predictors.
        targets: ``cross`` of each regression.
        ridge: penalty of the squared weights.
        kept: weights kept per row.
        exact: the largest catalogue that is solved as a whole.
        neighbours: predictors of each item in larger ones, at least.

    Returns:
        float32 ``(n, n)``, predictors in rows, for each of the targets.
    """
    if gram.shape[0] > exact:
        return [largest(w, kept) for w in neighbourhoods(gram, targets, ridge, neighbours)]
    return [_sparse(weights, kept) for weights in solved(gram, targets, ridge)]


def solved(
    gram: sp.csr_array[np.float32], targets: Sequence[sp.csr_array[np.float32]], ridge: float
) -> list[Weights]:
    """All weights of ridge regressions whose diagonal is zero, float32 ``(n, n)`` for each target.

    With ``P`` the inverse of ``S'S + ridge``, they are ``P S'T`` less ``P`` times the multipliers
    of the constraint, which bring the diagonal to zero. Where the targets are the predictors, that
    is ``1 - P / diag(P)``.
    """
    factor = gram.astype(np.float32).toarray(order="F")
    diagonal = np.diag_indices_from(factor)
    factor[diagonal] += ridge
    factor, _ = lapack.spotrf(factor, lower=1, clean=0, overwrite_a=1)
    found = []
    for cross in targets:
        weights = np.zeros_like(factor)
        if cross is not gram:
            weights = cross.astype(np.float32).toarray(order="F")
            weights, _ = lapack.spotrs(factor, weights, lower=1, overwrite_b=1)
        found.append(weights)
    inverse, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
    for cross, weights in zip(targets, found, strict=True):
        diagonal_is = np.ones(len(inverse)) if cross is gram else weights.diagonal()
        scale = (diagonal_is / inverse.diagonal()).astype(np.float32)
        for start, stop, columns in _symmetric(inverse):
            weights[:, start:stop] -= columns * scale[start:stop]
        weights[diagonal] = 0
    return found


def neighbourhoods(
    gram: sp.csr_array[np.float32],
    targets: Sequence[sp.csr_array[np.float32]],
    ridge: float,
    neighbours: int,
) -> list[sp.csr_array[np.float32]]:
    """Weights of the same regressions, each item predicted from its neighbours alone: those that
    it goes with most often, and those of the largest moments in any of the targets. The cost grows
    linearly with the catalogue.

    Args:
        gram: of the predictors.
        targets: ``cross`` of each regression.
        ridge: penalty of the squared weights.
        neighbours: predictors of each item by ``gram``, and by each of the targets. With all
            others, the result is that of `solved`.
    """
    n = gram.shape[0]
    towards = [sp.csr_array(cross.T, dtype=np.float32) for cross in targets]
    near = sp.csr_array((n, n), dtype=np.float32)
    for moments in (gram, *towards):
        others = sp.csr_array(moments - sp.diags_array(moments.diagonal()))
        others.eliminate_zeros()
        near += abs(largest(others, neighbours))
    near.sort_indices()  # a row has the predictors of its item
    found = np.zeros((len(targets), near.nnz), dtype=np.float32)
    place = np.full(n, -1)
    for item in range(n):
        at = slice(near.indptr[item], near.indptr[item + 1])
        items = near.indices[at]
        if not len(items):
            continue
        place[items] = np.arange(len(items))
        among = _dense(gram, items, place, len(items))
        among[np.diag_indices_from(among)] += ridge
        line = np.array([item])
        right = np.concatenate([_dense(t, line, place, len(items)) for t in towards])
        place[items] = -1
        found[:, at] = cho_solve(cho_factor(among, lower=True), right.T).T
    rows = (near.indices, near.indptr)
    return [sp.csr_array(sp.csr_array((w, *rows), shape=(n, n)).T) for w in found]


def largest(matrix: sp.csr_array[np.float32], n: int) -> sp.csr_array[np.float32]:
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
) -> sp.csr_array[np.float32]:
    """``value`` at each row and column, summed where they repeat."""
    values = np.full(len(rows), value, dtype=np.float32)
    return sp.coo_array((values, (rows, columns)), shape=shape).tocsr()


def _sparse(weights: Weights, kept: int) -> sp.csr_array[np.float32]:
    """The largest weights of each row."""
    starts = range(0, len(weights), _BLOCK)
    blocks = [largest(sp.csr_array(weights[start : start + _BLOCK]), kept) for start in starts]
    return sp.csr_array(sp.vstack(blocks, format="csr") if blocks else weights.shape)


def _symmetric(lower: Weights) -> Iterator[tuple[int, int, Weights]]:
    """Whole columns, a block at a time, of a symmetric matrix whose lower triangle is given."""
    for start in range(0, len(lower), _BLOCK):
        stop = min(start + _BLOCK, len(lower))
        columns = lower[:, start:stop].copy()
        columns[:start] = lower[start:stop, :start].T
        corner = np.tril(columns[start:stop])
        columns[start:stop] = corner + np.tril(corner, -1).T
        yield start, stop, columns


def _dense(
    matrix: sp.csr_array[np.float32],
    items: NDArray[np.integer],
    place: NDArray[np.int64],
    width: int,
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
