"""Behind the averages of a run: metrics by group of users, and how lists cover the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from letterrec.data.dataset import Dataset
from letterrec.data.splits import HeldOut
from letterrec.decoding.ranker import Ranker
from letterrec.evaluation.cases import measured_cases
from letterrec.evaluation.metrics import (
    PAPER,
    Measures,
    Ranks,
    coverage,
    gini,
    ranks_of,
    standard_errors,
    summarise,
)
from letterrec.evaluation.protocol import LIST
from letterrec.evaluation.ranking import rank_cases
from letterrec.evaluation.results import Group

_LENGTHS = ((1, 3), (4, 5), (6, 10), (11, 20), (21, None))
_GROUPS = 5
By = Literal["history", "popularity", "user"]


@dataclass(frozen=True)
class Spread:
    """How lists cover the catalogue: their `coverage` and `gini` index."""

    coverage: float
    gini: float


@dataclass(frozen=True)
class Breakdowns:
    """What `analyse` gives.

    Attributes:
        by_popularity: see `by_popularity`.
        by_length: see `by_length`.
        lists: of the top 10 of ``letterrec`` and of ``popularity``.
    """

    by_popularity: list[Group]
    by_length: list[Group]
    lists: dict[str, Spread]


def analyse(
    ranker: Ranker, dataset: Dataset, *, batch_size: int = 256, users: int | None = None
) -> Breakdowns:
    """Rank the test split anew and look at it from several sides.

    Args:
        ranker: is looked at.
        dataset: holds the cases.
        batch_size: histories ranked at a time.
        users: rank a sample of at most so many; None: all.
    """
    cases = measured_cases(dataset, "test", users)
    lists = rank_cases(ranker, cases, k=LIST, batch_size=batch_size, label="ranking (test)")
    ranks = ranks_of(lists, cases.targets)
    popularity = dataset.popularity
    n_items = dataset.n_items
    most_popular = np.argsort(-popularity, kind="stable")[:LIST]
    return Breakdowns(
        grouped("popularity", ranks, cases, dataset),
        grouped("history", ranks, cases, dataset),
        {
            "letterrec": _spread(lists, n_items),
            "popularity": _spread(np.tile(most_popular, (len(cases), 1)), n_items),
        },
    )


def grouped(
    by: By, ranks: Ranks, cases: HeldOut, dataset: Dataset, measures: Measures = PAPER
) -> list[Group]:
    """Metrics of a split by group of its cases.

    Args:
        by: ``"history"``: `by_length` of what each case was asked with; ``"popularity"`` of the
            target; ``"user"``: how much of the user is in training, new ones first.
        ranks: int64 ``(n_cases,)`` of the targets.
        cases: of the split.
        dataset: that they are of.
        measures: which metrics, at which cuts.
    """
    if by == "history":
        return by_length(ranks, cases.histories.lengths, measures)
    if by == "popularity":
        return by_popularity(ranks, cases.targets, dataset.popularity, measures)
    learned = dataset.bounds.valid[cases.users]
    new = _group("none in training", ranks[learned == 0], measures)
    return [new, *by_length(ranks, learned, measures)]


def by_popularity(
    ranks: NDArray[np.int64],
    targets: NDArray[np.integer],
    popularity: NDArray[np.int64],
    measures: Measures = PAPER,
) -> list[Group]:
    """Metrics by how often the target occurs in training: five groups with equal shares of the
    catalogue, the rarest items first.

    >>> groups = by_popularity(np.array([0, -1]), np.array([4, 0]), np.array([1, 2, 3, 4, 90]))
    >>> [(g["name"], g["cases"], g["metrics"]["recall@10"]) for g in groups if g["cases"]]
    [('0-20 % (1)', 1, 0.0), ('80-100 % (90)', 1, 1.0)]
    """
    order = np.argsort(popularity, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    groups = []
    for i, rows in enumerate(np.array_split(order, _GROUPS)):
        if not len(rows):
            continue
        low, high = int(popularity[rows].min()), int(popularity[rows].max())
        inside = (place[targets] >= place[rows[0]]) & (place[targets] <= place[rows[-1]])
        times = str(low) if low == high else f"{low}-{high}"
        share = f"{100 * i // _GROUPS}-{100 * (i + 1) // _GROUPS} %"
        groups.append(_group(f"{share} ({times})", ranks[inside], measures))
    return groups


def by_length(
    ranks: NDArray[np.int64], lengths: NDArray[np.integer], measures: Measures = PAPER
) -> list[Group]:
    """Metrics by the number of items in the history.

    >>> [g["name"] for g in by_length(np.array([0, 1]), np.array([2, 30])) if g["cases"]]
    ['1-3', '21 or more']
    """
    groups = []
    for low, high in _LENGTHS:
        inside = (lengths >= low) & (lengths <= (high if high is not None else np.inf))
        name = f"{low} or more" if high is None else f"{low}-{high}"
        groups.append(_group(name, ranks[inside], measures))
    return groups


def _group(name: str, ranks: NDArray[np.int64], measures: Measures) -> Group:
    return Group(
        name=name,
        cases=len(ranks),
        metrics=summarise(ranks, measures),
        standard_errors=standard_errors(ranks, measures),
    )


def _spread(lists: NDArray[np.int64], n_items: int) -> Spread:
    counts = np.bincount(lists[lists >= 0], minlength=n_items)
    return Spread(coverage(counts), gini(counts))


def shares_by_rank(counts: NDArray[np.integer], groups: int) -> Sequence[float]:
    """Codes ranked by frequency, in groups of equal size: the share of all that each group has.

    The paper's Fig. 6.

    >>> shares_by_rank(np.array([1, 5, 3, 1]), 2)
    [0.8, 0.2]
    """
    ranked = np.sort(counts)[::-1] / max(1, counts.sum())
    return [float(part.sum()) for part in np.array_split(ranked, min(groups, len(ranked)))]
