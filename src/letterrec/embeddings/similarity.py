"""Which items are similar, by the cosine of their content embeddings."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

_NEIGHBOURS = 20
_BLOCK = 1024  # items at a time
_EXACT = 65_536  # the largest catalogue in which each item is compared with all others
_WINDOW = 2048  # in larger ones, with so many before and behind it in the order of identifiers

Neighbours = tuple[NDArray[np.int64], NDArray[np.float32]]


def most_similar(
    content: NDArray[np.float32], new: NDArray[np.float32], softness: float
) -> Neighbours:
    """The known items with the content most similar to that of new ones.

    Args:
        content: float32 ``(n, d)`` of known items.
        new: float32 ``(m, d)`` of new items.
        softness: of the weights, in units of cosine.

    Returns:
        int64 ``(m, k)`` rows of ``content``, and float32 ``(m, k)`` weights, proportional to
        ``exp(cosine / softness)`` and one in sum; k is 20, or n where that is smaller.

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


def alike(content: NDArray[np.float32], order: NDArray[np.integer], softness: float) -> Neighbours:
    """For every item the others with the most similar content, as `most_similar` gives them.

    In catalogues of more than 65,536 items only those near in ``order`` are looked at, so that
    the cost grows with the number of items and not with its square.

    Args:
        content: float32 ``(n, d)``, of at least two items.
        order: int ``(n,)`` item rows, like items near each other, as `Trie.items` has them.
        softness: of the weights, in units of cosine.
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


def as_matrix(neighbours: Neighbours, n_items: int) -> sp.csr_array:
    """float32 ``(m, n_items)``: the weights of `most_similar` or `alike`, one in sum in a row."""
    rows, weights = neighbours
    offsets = np.arange(0, rows.size + 1, rows.shape[1])
    shape = (len(rows), n_items)
    return sp.csr_array((weights.ravel(), rows.ravel().astype(np.int32), offsets), shape=shape)


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length one; rows of zeros stay."""
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(norms > 0, norms, 1), dtype=np.float32)


def _nearest(cosines: NDArray[np.float32], softness: float, k: int = _NEIGHBOURS) -> Neighbours:
    k = min(k, cosines.shape[1])
    nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
    near = np.take_along_axis(cosines, nearest, 1)
    weights = np.exp((near - near.max(1, keepdims=True)) / softness)
    return nearest, weights / weights.sum(1, keepdims=True)
