"""Embeddings on their directions of largest variance, to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray


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
