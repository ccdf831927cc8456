"""What the page and the report draw: use of codes, the tree of codes, maps of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from letterrec.errors import NotFound
from letterrec.identifiers.identifiers import Identifiers
from letterrec.serving.catalogue.items import STATES, Catalogue


def code_counts(identifiers: Identifiers) -> list[NDArray[np.int64]]:
    """Per level int64 ``(codes,)``: how many items have each code there.

    >>> ids = Identifiers(np.array([[0, 1], [0, 0], [2, -1]], dtype=np.int32), (3, 2))
    >>> [level.tolist() for level in code_counts(ids)]
    [[2, 0, 1], [1, 1]]
    """
    return [
        np.bincount(level[level >= 0], minlength=size).astype(np.int64)
        for level, size in zip(identifiers.codes.T, identifiers.sizes, strict=True)
    ]


def entropy(counts: NDArray[np.integer]) -> float:
    """Entropy in bits of the distribution that counts stand for.

    >>> entropy(np.array([2, 2, 0]))
    1.0
    """
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def children(catalogue: Catalogue, prefix: Sequence[int], titles: int = 3) -> dict[str, Any]:
    """The codes that follow a prefix in the tree of identifiers.

    Args:
        catalogue: whose identifiers are looked at; deleted items are left out.
        prefix: codes from the first level on; empty at the root.
        titles: sample titles per code, the most popular items'.

    Returns:
        ``prefix``, ``items`` (below it) and ``children``: per code ``code``, ``items`` and sample
        ``titles``, most items first; at the last level each child also has its ``item`` ids.

    Raises:
        NotFound: no identifier begins so.
    """
    codes = catalogue.identifiers.codes
    below = catalogue.states < STATES.index("deleted")
    for level, code in enumerate(prefix):
        if level >= codes.shape[1]:
            below = np.zeros(len(codes), dtype=bool)
            break
        below &= codes[:, level] == code
    rows = np.flatnonzero(below)
    if not len(rows):
        raise NotFound(f"no identifier begins with the codes {list(prefix)}")
    depth = len(prefix)
    result: dict[str, Any] = {"prefix": list(prefix), "items": len(rows), "children": []}
    if depth == codes.shape[1]:
        return result
    rows = rows[np.lexsort((-catalogue.popularity[rows], codes[rows, depth]))]
    values, starts, sizes = np.unique(codes[rows, depth], return_index=True, return_counts=True)
    last = depth + 1 == codes.shape[1]
    for i in np.argsort(-sizes, kind="stable"):
        members = rows[starts[i] : starts[i] + sizes[i]]
        result["children"].append(
            {
                "code": int(values[i]),
                "items": int(sizes[i]),
                "titles": [catalogue.titles[r] for r in members[:titles]],
                "item_ids": [catalogue.item_ids[r] for r in members] if last else [],
            }
        )
    return result


def principal_components(
    values: NDArray[np.float32], n: int = 3
) -> tuple[NDArray[np.float32], list[float]]:
    """Coordinates along the ``n`` directions of largest variance.

    Args:
        values: float32 ``(points, d)``.
        n: components; missing ones (``d < n``) are 0.

    Returns:
        float32 ``(points, n)``, and the share of the variance that each component has. Signs are
        fixed: the largest loading of each direction is positive.
    """
    axes = principal_axes(values, n)
    return axes.coordinates(values), axes.shares


@dataclass(frozen=True)
class Axes:
    """Directions of largest variance.

    Attributes:
        mean: float64 ``(d,)``.
        directions: float64 ``(d, n)``; missing ones (``d < n``) are 0. The largest loading of each
            is positive.
        shares: of the variance, per direction.
    """

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]
    shares: list[float]

    def coordinates(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 ``(points, n)`` of float32 ``(points, d)``."""
        return ((values - self.mean) @ self.directions).astype(np.float32)


def principal_axes(values: NDArray[np.float32], n: int = 3) -> Axes:
    """The ``n`` directions of largest variance of float32 ``(points, d)``."""
    mean = values.mean(0, dtype=np.float64)
    centred = values.astype(np.float64) - mean
    covariance = centred.T @ centred  # (d, d), times the number of points
    d = len(covariance)
    kept = min(n, d)
    variances, found = scipy.linalg.eigh(covariance, subset_by_index=(d - kept, d - 1))
    variances, found = variances[::-1], found[:, ::-1]  # largest first; (d, kept)
    largest = np.abs(found).argmax(0)
    directions = np.zeros((d, n))
    directions[:, :kept] = found * np.sign(found[largest, np.arange(kept)])
    total = max(float(np.trace(covariance)), 1e-12)
    shares = [float(v) / total for v in variances.clip(min=0)]
    return Axes(mean, directions, shares + [0.0] * (n - kept))


def sample(n: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` of ``n`` rows, evenly spread; the same every time.

    >>> sample(5, 10).tolist(), sample(10, 4).tolist()
    ([0, 1, 2, 3, 4], [0, 2, 5, 7])
    """
    return np.arange(n) if n <= most else (np.arange(most) * n) // most


def shared_codes(
    catalogue: Catalogue, history: Sequence[int], item: int, most: int = 3
) -> list[dict[str, Any]]:
    """Why an item: the items of the history that share codes with it at equal places.

    Returns:
        Per history item with a code in common ``row`` and ``shared`` (a flag per level), those
        with more leading codes in common first, then more codes, then the latest; each once.
    """
    codes = catalogue.identifiers.codes
    latest = list(dict.fromkeys(reversed(history)))
    same = (codes[latest] == codes[item]) & (codes[item] >= 0)  # (history, levels)
    leading = np.cumprod(same, axis=1).sum(1)
    total = same.sum(1)
    order = np.lexsort((np.arange(len(latest)), -total, -leading))
    return [
        {"row": int(latest[i]), "shared": same[i].tolist()} for i in order[:most] if total[i] > 0
    ]
