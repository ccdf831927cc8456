"""Is a difference between two recommenders more than the luck of these users?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 23  # counts that are drawn at a time


@dataclass(frozen=True)
class Difference:
    """A mean difference over users and how sure it is.

    Attributes:
        mean: ours minus theirs.
        low, high: 95 % interval: 2.5th and 97.5th percentile of the resampled means.
        p: two-sided; twice the share of resampled means on the other side of zero.
        users: how many were resampled.
    """

    mean: float
    low: float
    high: float
    p: float
    users: int


def paired_bootstrap(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], *, resamples: int = 4000, seed: int = 0
) -> Difference:
    """Resample users, each with both results, and look at the mean difference.

    Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979; for ranking metrics:
    Sakai, "Evaluating Evaluation Metrics based on the Bootstrap", SIGIR 2006. The interval speaks
    of other users, at these seeds; how results move with the seed is another matter, which the
    spread over seeds shows.

    Args:
        ours: float ``(n_seeds, n_users)``, a metric of each user; seeds are averaged per user.
        theirs: float ``(m_seeds, n_users)`` of the same users in the same order.
        resamples: how often users are drawn anew.
        seed: decides the draws.

    Raises:
        ValueError: the users are not as many on both sides.

    >>> same = np.array([[0.0, 1.0, 1.0]])
    >>> paired_bootstrap(same, same)
    Difference(mean=0.0, low=0.0, high=0.0, p=1.0, users=3)
    """
    if ours.shape[-1] != theirs.shape[-1]:
        raise ValueError(f"{ours.shape[-1]} users on one side, {theirs.shape[-1]} on the other")
    differences = np.round(ours.mean(0) - theirs.mean(0), 12)
    n = len(differences)
    if n == 0:
        return Difference(0.0, 0.0, 0.0, 1.0, 0)
    # Most users differ by one of few values: drawing n users is drawing how often each value comes.
    values, counts = np.unique(differences, return_counts=True)
    draw = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(values))
    means = np.concatenate(
        [
            draw.multinomial(n, counts / n, size=min(rows, resamples - start)) @ values / n
            for start in range(0, resamples, rows)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (resamples + 1))
    return Difference(float(differences.mean()), float(low), float(high), p, n)
