"""Ranking metrics as pure functions of ranks, one relevant item per user (leave-one-out).

A rank is the position of the target in a user's list, from 0; ``-1`` means that the list does not
hold it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CUTS = (5, 10)
Ranks = NDArray[np.int64]


def ranks_of(lists: NDArray[np.int64], targets: NDArray[np.integer]) -> Ranks:
    """Position of each target in its list.

    Args:
        lists: int64 ``(n_users, k)`` item rows, best first, ``-1`` where a list is shorter.
        targets: ``(n_users,)`` item rows.

    Returns:
        int64 ``(n_users,)``, ``-1`` where the target is not in the list.

    >>> ranks_of(np.array([[4, 2], [1, -1]]), np.array([2, 3])).tolist()
    [1, -1]
    """
    hit = lists == np.asarray(targets)[:, None]
    return np.where(hit.any(1), hit.argmax(1), -1).astype(np.int64)


def recall(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """Recall@k of each user: with one relevant item, 1 if it is among the first ``k``.

    >>> recall(np.array([0, 4, 5, -1]), 5).tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    return ((ranks >= 0) & (ranks < k)).astype(np.float64)


def ndcg(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """NDCG@k of each user: with one relevant item, ``1 / log2(rank + 2)`` if it is within ``k``.

    >>> ndcg(np.array([0, 2, 7]), 5).tolist()
    [1.0, 0.5, 0.0]
    """
    return np.where(recall(ranks, k) > 0, 1.0 / np.log2(np.maximum(ranks, 0) + 2.0), 0.0)


def summarise(ranks: Ranks) -> dict[str, float]:
    """Means over users at the cuts of the paper (section 5.2).

    >>> summarise(np.array([0, 7]))["recall@5"]
    0.5
    """
    if len(ranks) == 0:
        return {f"{name}@{k}": 0.0 for name in ("recall", "ndcg") for k in CUTS}
    table = {f"recall@{k}": float(recall(ranks, k).mean()) for k in CUTS}
    return table | {f"ndcg@{k}": float(ndcg(ranks, k).mean()) for k in CUTS}


def coverage(counts: NDArray[np.integer]) -> float:
    """Share of the items that are recommended to anyone.

    Args:
        counts: ``(n_items,)`` in how many lists each item is.

    >>> coverage(np.array([3, 0, 1, 0]))
    0.5
    """
    return float((counts > 0).mean()) if len(counts) else 0.0


def gini(counts: NDArray[np.integer]) -> float:
    """Gini index of how often items are recommended: 0 if all alike, near 1 if always the same.

    Args:
        counts: ``(n_items,)`` in how many lists each item is.

    >>> gini(np.array([2, 2])), gini(np.array([0, 0, 0, 4]))
    (0.0, 0.75)
    """
    n, total = len(counts), int(counts.sum())
    if n == 0 or total == 0:
        return 0.0
    rising = np.sort(counts).astype(np.float64)
    return float((2 * np.arange(1, n + 1) - n - 1) @ rising / (n * total))
