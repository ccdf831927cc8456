"""Find items that are similar by the cosine of their content embeddings."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

_NEIGHBOURS = 20
_BLOCK = 1024  # items compared at a time
_EXACT = 65_536  # the largest catalogue in which each item is compared with all others
_WINDOW = 2048  # in larger ones, with so many items before it in the given order, and after it

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
    known = unit(content)
    found = [
        _nearest(unit(new[start : start + _BLOCK]) @ known.T, softness)
        for start in range(0, len(new), _BLOCK)
    ]
    rows, weights = zip(*found, strict=True)
    return np.concatenate(rows), np.concatenate(weights)


def similar_items(
    content: NDArray[np.float32], order: NDArray[np.integer], softness: float
) -> Neighbours:
    """For each item, the other items whose content is most similar.

    In a catalogue of more than 65,536 items each item is compared only with those near it in
    ``order``, so that the cost grows linearly with the catalogue.

    Args:
        content: float32 ``(n, d)`` content embeddings of at least two items.
        order: int ``(n,)`` item rows in an order that puts similar items near each other, such as
            that of `Trie.items`.
        softness: temperature of the weights.

    Returns:
        Rows and weights as of `most_similar`, ``k`` being at most ``n - 1``.
    """
    n = len(content)
    ordered = unit(content)[order]
    window = n if n <= _EXACT else _WINDOW
    rows = np.empty((n, min(_NEIGHBOURS, n - 1)), dtype=np.int64)
    weights = np.empty(rows.shape, dtype=np.float32)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        first, last = max(0, start - window), min(n, stop + window)
        cosines = ordered[start:stop] @ ordered[first:last].T
        place = np.arange(start, stop)
        cosines[place - start, place - first] = -np.inf  # not the item itself
        near, weights[order[start:stop]] = _nearest(cosines, softness, rows.shape[1])
        rows[order[start:stop]] = order[first + near]
    return rows, weights


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


def _nearest(cosines: NDArray[np.float32], softness: float, k: int = _NEIGHBOURS) -> Neighbours:
    k = min(k, cosines.shape[1])
    nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
    near = np.take_along_axis(cosines, nearest, 1)
    weights = np.exp((near - near.max(1, keepdims=True)) / softness)
    return nearest, weights / weights.sum(1, keepdims=True)
