"""Ridge regressions of items on items in closed form, where no item predicts itself.

A regression needs two matrices (`moments`), both float32 ``(n, n)`` for ``n`` items: ``gram``, the
second moments ``S'S`` of the predictors, and ``cross``, the moments ``S'T`` of predictors (rows)
and targets (columns). Its weights are float32 ``(n, n)``: the row is the predictor, an item of the
history, and the column the item that it predicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, lapack

from letterrec.progress import counting

Weights = NDArray[np.float32]

KEPT = 200  # weights kept per item
EXACT = 30_000  # the largest catalogue that is solved as a whole, in two float32 matrices of n * n
NEIGHBOURS = 200  # in larger ones, each item is predicted from so many others
_BLOCK = 512  # rows or columns of a dense matrix that are worked on at a time
_ROWS = 32_768  # of a sparse one: sorting takes ten times its memory


def keep_positive(matrix: sp.csr_array[np.float32]) -> sp.csr_array[np.float32]:
    """The entries above zero: what speaks against an item has no place in a share."""
    kept = sp.csr_array(matrix.maximum(0), dtype=np.float32)
    kept.eliminate_zeros()
    return kept


def fit_ridge(
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
        return [
            keep_largest(w, kept) for w in solve_neighbourhoods(gram, targets, ridge, neighbours)
        ]
    return [_sparse(weights, kept) for weights in solve_ridge(gram, targets, ridge)]


def solve_ridge(
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


def solve_neighbourhoods(
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
            others, the result is that of `solve_ridge`.
    """
    n = gram.shape[0]
    towards = [sp.csr_array(cross.T, dtype=np.float32) for cross in targets]
    near = _near([gram, *towards], neighbours)  # a row has the predictors of its item
    found = np.zeros((len(targets), near.nnz), dtype=np.float32)
    place = np.full(n, -1)
    with counting("item-item weights", n) as counter:
        for item in range(n):
            counter.advance(1)
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


def _near(matrices: Sequence[sp.csr_array[np.float32]], n: int) -> sp.csr_array[np.float32]:
    """The places of the ``n`` largest entries of each row off the diagonal, of any of the matrices,
    in rising order; the entries are above zero.
    """
    blocks = []
    for start in range(0, matrices[0].shape[0], _ROWS):
        largest = []
        for matrix in matrices:
            rows = matrix[start : start + _ROWS].tocoo()
            others = (rows.col != rows.row + start) & (rows.data != 0)
            entries = (rows.data[others], (rows.row[others], rows.col[others]))
            largest.append(abs(keep_largest(sp.coo_array(entries, shape=rows.shape).tocsr(), n)))
        blocks.append(sum(largest[1:], start=largest[0]))
    found = sp.csr_array(sp.vstack(blocks, format="csr"))
    found.sort_indices()
    return found


def keep_largest(matrix: sp.csr_array[np.float32], n: int) -> sp.csr_array[np.float32]:
    """The ``n`` largest entries of each row; of equal ones those further left."""
    if np.diff(matrix.indptr).max(initial=0) <= n:
        return matrix
    starts = range(0, matrix.shape[0], _ROWS)
    blocks = [_largest(matrix[start : start + _ROWS], n) for start in starts]
    return sp.csr_array(sp.vstack(blocks, format="csr"))


def _largest(matrix: sp.csr_array[np.float32], n: int) -> sp.csr_array[np.float32]:
    lengths = np.diff(matrix.indptr)
    row = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((matrix.indices, -matrix.data, row))
    rank = np.arange(len(order)) - matrix.indptr[row]
    kept = np.sort(order[rank < n])
    data = (matrix.data[kept], (row[kept], matrix.indices[kept]))
    return sp.coo_array(data, shape=matrix.shape).tocsr()


def _sparse(weights: Weights, kept: int) -> sp.csr_array[np.float32]:
    """The largest weights of each row."""
    starts = range(0, len(weights), _BLOCK)
    blocks = [keep_largest(sp.csr_array(weights[start : start + _BLOCK]), kept) for start in starts]
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
