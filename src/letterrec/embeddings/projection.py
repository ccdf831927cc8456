"""Embeddings in a plane or in space, to draw them: principal components and t-SNE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray


def principal_components(
    values: NDArray[np.float32], n: int = 3
) -> tuple[NDArray[np.float32], list[float]]:
    """Project points on their ``n`` directions of largest variance (PCA).

    Args:
        values: float32 ``(points, d)``.
        n: how many directions.

    Returns:
        The coordinates, float32 ``(points, n)``, and the share of the variance along each
        direction. Where ``d < n``, the missing ones are 0.
    """
    axes = principal_axes(values, n)
    return axes.coordinates(values), axes.shares


@dataclass(frozen=True)
class Axes:
    """The directions of largest variance of some points, and where they cross.

    Attributes:
        mean: float64 ``(d,)``: the mean of the points.
        directions: float64 ``(d, n)``, of length one; those beyond ``d`` are 0. The component of
            largest absolute value is positive, so that equal points give equal pictures.
        shares: for each direction its share of the variance.
    """

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]
    shares: list[float]

    def coordinates(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project points, float32 ``(points, d)`` -> float32 ``(points, n)``."""
        return ((values - self.mean) @ self.directions).astype(np.float32)


def principal_axes(values: NDArray[np.float32], n: int = 3) -> Axes:
    """Find the ``n`` directions of largest variance of points, float32 ``(points, d)``."""
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


def neighbourhoods(values: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """Place points in a plane so that near ones stay near (t-SNE; van der Maaten & Hinton, 2008).

    Takes seconds for thousands of points. Fewer than five are projected instead.

    Args:
        values: float32 ``(points, d)``.
        seed: of the optimization.

    Returns:
        float32 ``(points, 2)``.
    """
    if len(values) < 5:
        return principal_components(values, 2)[0]
    from sklearn.manifold import TSNE  # takes a second or two

    perplexity = min(30.0, (len(values) - 1) / 3)
    found = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(values)
    return np.asarray(found, dtype=np.float32)


def sample(n: int, most: int) -> NDArray[np.int64]:
    """Choose at most ``most`` of ``n`` rows, evenly spread; always the same ones.

    >>> sample(5, 10).tolist(), sample(10, 4).tolist()
    ([0, 1, 2, 3, 4], [0, 2, 5, 7])
    """
    return np.arange(n) if n <= most else (np.arange(most) * n) // most
