"""Find items that are similar by the cosine of their embeddings: exactly, or nearly in large
catalogues.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

_NEIGHBOURS = 20
_BLOCK = 1024  # rows that are compared at a time, at most
_COSINES = 2**26  # that are held at a time
EXACT = 32_768  # the largest catalogue in which each item is compared with all others
_TRAINED_PER_CELL = 64  # items that the centre of a cell is fitted on
_PROBED = 16  # cells that are searched

Neighbours = tuple[NDArray[np.int64], NDArray[np.float32]]


def most_similar(
    content: NDArray[np.float32], new: NDArray[np.float32], softness: float
) -> Neighbours:
    """For each new item, the known items whose content is most similar.

    Args:
        content: float32 ``(n, d)`` content embeddings of the known items.
        new: float32 ``(m, d)`` content embeddings of the new items.
        softness: temperature of the weights. The larger it is, the more even they are.

    Returns:
        Rows of ``content``, int64 ``(m, k)`` in no order, and their weights, float32 ``(m, k)``:
        the softmax of ``cosine / softness`` over the ``k`` rows. ``k`` is 20, or ``n`` where that
        is smaller.

    >>> content = np.array([[1, 0], [0, 1]], dtype=np.float32)
    >>> rows, weights = most_similar(content, np.array([[3, 0]], dtype=np.float32), 0.1)
    >>> rows[0, weights[0].argmax()].item(), weights.max().round(3).item()
    (0, 1.0)
    """
    rows, cosines = nearest(unit(content), unit(new), _NEIGHBOURS)
    return rows, _weights(cosines, softness)


def similar_items(content: NDArray[np.float32], softness: float) -> Neighbours:
    """For each item, the other items whose content is most similar.

    Args:
        content: float32 ``(n, d)`` content embeddings of at least two items.
        softness: temperature of the weights.

    Returns:
        Rows and weights as of `most_similar`, ``k`` being at most ``n - 1``.
    """
    rows, cosines = nearest_others(unit(content), _NEIGHBOURS)
    return rows, _weights(cosines, softness)


def nearest(
    known: NDArray[np.float32], queries: NDArray[np.float32], k: int, *, exact: int = EXACT
) -> Neighbours:
    """The known rows with the highest cosine to each query.

    Up to ``exact * exact`` pairs are compared one by one. Of more, an inverted file (faiss'
    ``IndexIVFFlat``) compares a query with the rows of the cells nearest to it, so that the cost
    grows as ``n ** 1.5``; some neighbours are missed, and the same input gives the same ones.

    Args:
        known: float32 ``(n, d)`` of length one, or zeros.
        queries: float32 ``(m, d)`` of length one, or zeros.
        k: rows wanted, at most ``n``.
        exact: the largest catalogue whose items are all compared.

    Returns:
        int64 ``(m, k)`` rows of ``known``, in no order, and float32 ``(m, k)`` their cosines.
    """
    k = min(k, len(known))
    if len(known) * len(queries) > exact * exact:
        return _searched(known, queries, k)
    return _compared(known, queries, k)


def nearest_others(unit_rows: NDArray[np.float32], k: int, *, exact: int = EXACT) -> Neighbours:
    """`nearest` of rows among themselves, each left out of its own neighbours.

    Args:
        unit_rows: float32 ``(n, d)`` of length one, or zeros; at least two.
        k: others wanted, at most ``n - 1``.
        exact: as of `nearest`.
    """
    k = min(k, len(unit_rows) - 1)
    if len(unit_rows) <= exact:
        return _compared(unit_rows, unit_rows, k, apart=True)
    rows, cosines = _searched(unit_rows, unit_rows, k + 1)
    own = rows == np.arange(len(rows))[:, None]
    own[~own.any(1), -1] = True  # one that equal rows have crowded out gives up the last of them
    return rows[~own].reshape(-1, k), cosines[~own].reshape(-1, k)


def as_matrix(neighbours: Neighbours, n_items: int) -> sp.csr_array[np.float32]:
    """The result of `most_similar` or `similar_items` as a sparse matrix.

    Returns:
        float32 ``(m, n_items)`` weights; each row sums to one.
    """
    rows, weights = neighbours
    offsets = np.arange(0, rows.size + 1, rows.shape[1])
    shape = (len(rows), n_items)
    return sp.csr_array((weights.ravel(), rows.ravel().astype(np.int32), offsets), shape=shape)


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale the rows of float32 ``(n, d)`` to length one; rows of zeros stay as they are."""
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(norms > 0, norms, 1), dtype=np.float32)


def _compared(
    known: NDArray[np.float32], queries: NDArray[np.float32], k: int, apart: bool = False
) -> Neighbours:
    """Each query compared with all known rows; ``apart``: but the one of its own number."""
    rows = np.empty((len(queries), k), dtype=np.int64)
    cosines = np.empty((len(queries), k), dtype=np.float32)
    block = max(1, min(_BLOCK, _COSINES // len(known)))
    for start in range(0, len(queries), block):
        part = slice(start, start + block)
        found = queries[part] @ known.T  # (block, n)
        if apart:
            own = np.arange(len(found))
            found[own, start + own] = -np.inf
        rows[part] = np.argpartition(-found, k - 1, axis=1)[:, :k]
        cosines[part] = np.take_along_axis(found, rows[part], 1)
    return rows, cosines


def _searched(known: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> Neighbours:
    """The same, nearly: rows of the cells nearest to a query, the nearest first."""
    import faiss  # a tenth of a second

    cells = max(1, round(len(known) ** 0.5))
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(known.shape[1]), known.shape[1], cells, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.max_points_per_centroid = _TRAINED_PER_CELL
    index.cp.seed = 0
    known, queries = np.ascontiguousarray(known), np.ascontiguousarray(queries)
    index.train(known)
    index.add(known)
    index.nprobe = _PROBED
    cosines, rows = index.search(queries, k)
    lacking = (rows < 0).any(1)
    if lacking.any():  # their cells hold too few
        index.nprobe = cells
        cosines[lacking], rows[lacking] = index.search(queries[lacking], k)
    return rows, cosines


def _weights(cosines: NDArray[np.float32], softness: float) -> NDArray[np.float32]:
    """The softmax of ``cosines / softness`` over each row."""
    weights = np.exp((cosines - cosines.max(1, keepdims=True)) / softness)
    return np.asarray(weights / weights.sum(1, keepdims=True))
