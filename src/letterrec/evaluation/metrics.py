"""Ranking metrics as pure functions of ranks, one relevant item per user (leave-one-out).

A rank is the position of the target in a user's list, from 0; ``-1`` means that the list does not
hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from letterrec.config.settings import MetricName, Settings

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


def reciprocal_rank(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """Reciprocal rank of each user, whose mean is MRR@k: 1 for the first place, 1/2 for the second,
    0 beyond the first ``k``.

    >>> reciprocal_rank(np.array([0, 3, 7, -1]), 5).tolist()
    [1.0, 0.25, 0.0, 0.0]
    """
    return np.where(recall(ranks, k) > 0, 1.0 / (np.maximum(ranks, 0) + 1.0), 0.0)


METRICS: dict[MetricName, Callable[[Ranks, int], NDArray[np.float64]]] = {
    "recall": recall,
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
    "hit_rate": recall,  # with one relevant item it is the same
}


@dataclass(frozen=True)
class Measures:
    """Which metrics are taken, and at which cuts: those of the paper (section 5.2) and others.

    Attributes:
        cuts: rising; 5 and 10 among them.
        metrics: names in `METRICS`, ``recall`` and ``ndcg`` first.
    """

    cuts: tuple[int, ...] = CUTS
    metrics: tuple[MetricName, ...] = ("recall", "ndcg")

    @classmethod
    def with_more(cls, cuts: Iterable[int], metrics: Iterable[MetricName]) -> Measures:
        """Those of the paper, with further cuts and metrics.

        >>> Measures.with_more([20], ["mrr"])
        Measures(cuts=(5, 10, 20), metrics=('recall', 'ndcg', 'mrr'))
        """
        names = dict.fromkeys((*cls.metrics, *metrics))
        return cls(tuple(sorted({*CUTS, *cuts})), tuple(names))

    @property
    def width(self) -> int:
        """How long a list has to be."""
        return max(self.cuts)

    def of_cases(self, ranks: Ranks) -> dict[str, NDArray[np.float64]]:
        """``recall@5`` and so on: float64 ``(n_cases,)``."""
        return {f"{m}@{k}": METRICS[m](ranks, k) for m in self.metrics for k in self.cuts}


PAPER = Measures()


def measures_of(settings: Settings) -> Measures:
    """Which metrics a run takes at its end, and at which cuts."""
    return Measures.with_more(settings.evaluation.cuts, settings.evaluation.metrics)


def summarise(ranks: Ranks, measures: Measures = PAPER) -> dict[str, float]:
    """Means over users; 0 where there are none.

    >>> summarise(np.array([0, 7]))["recall@5"]
    0.5
    """
    values = measures.of_cases(ranks)
    return {name: float(v.mean()) if len(v) else 0.0 for name, v in values.items()}


def standard_errors(ranks: Ranks, measures: Measures = PAPER) -> dict[str, float]:
    """Standard errors of the means of `summarise`: how far they would vary with other users.

    >>> standard_errors(np.array([0, 7, 8, 9]))["recall@5"]
    0.25
    """
    return {name: standard_error(v) for name, v in measures.of_cases(ranks).items()}


def standard_error(values: NDArray[np.float64]) -> float:
    """Of the mean of independent values; 0 where there are fewer than two."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def novelty(lists: NDArray[np.int64], popularity: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean self-information of the items of each list, in bits: how unlikely it is that an
    interaction of training is with them ("Auralist", WSDM'12).

    Args:
        lists: int64 ``(n, k)`` item rows, ``-1`` where a list is shorter.
        popularity: int64 ``(n_items,)``: how often each item occurs in training; an item that does
            not counts as if it did once.

    Returns:
        float64 ``(n,)``; 0 for an empty list.

    >>> novelty(np.array([[0, 1], [1, -1]]), np.array([6, 2])).round(3).tolist()
    [1.208, 2.0]
    """
    bits = -np.log2(np.maximum(popularity, 1) / max(1, int(popularity.sum())))  # (n_items,)
    there = lists >= 0
    total = np.where(there, bits[lists.clip(min=0)], 0.0).sum(1)
    return np.asarray(total / there.sum(1).clip(min=1), dtype=np.float64)


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
