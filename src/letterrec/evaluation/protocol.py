"""The paper's protocol: full ranking of held-out interactions, one relevant item per user.

Every ranker is measured by the same functions: its lists for the held-out cases become the ranks of
the targets, and the ranks become metrics.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from letterrec.data import Dataset
from letterrec.data.domains import items_in
from letterrec.data.splits import HeldOut, Split, sample_cases
from letterrec.decoding.ranker import Ranker
from letterrec.evaluation.cases import (
    all_cases,
    by_behaviour,
    by_domain,
    sampled,
)
from letterrec.evaluation.metrics import (
    CUTS,
    PAPER,
    Measures,
    Ranks,
    coverage,
    gini,
    novelty,
    ranks_of,
    standard_error,
    standard_errors,
    summarise,
)
from letterrec.evaluation.ranking import Lists, rank_cases
from letterrec.evaluation.results import Measured, SplitMetrics
from letterrec.identifiers.collisions import group
from letterrec.identifiers.identifiers import Identifiers
from letterrec.progress import say

LIST = 10  # items of a list that is looked at for itself
_SCORES = 2**26  # that are held at a time by a ranker that scores all items


def evaluate_split(
    ranker: Ranker,
    dataset: Dataset,
    split: Split,
    *,
    batch_size: int = 256,
    beam: int | None = None,
    exclude_seen: bool = False,
    identifiers: Identifiers | None = None,
    measures: Measures = PAPER,
    users: int | None = None,
    domain: str | None = None,
    behaviour: int = -1,
) -> Measured:
    """Metrics of a split over its users, each counted once.

    Seen items compete as well, as papers count; with ``exclude_seen`` the lists are those that a
    service gives.

    Args:
        ranker: is measured.
        dataset: holds the cases.
        split: ``"valid"`` or ``"test"``.
        batch_size: histories ranked at a time.
        beam: prefixes kept per level, of a ranker that searches.
        exclude_seen: leave out the items of the history.
        identifiers: of the items, where the ranker spells them; several items may share one.
        measures: which metrics, at which cuts.
        users: rank a sample of at most so many; None: all, or, where there are more than 100,000,
            a sample of 20,000.
        domain: rank the items of this one alone, for the users whose target is of it.
        behaviour: row of the one that is asked for: of each user the first such interaction of the
            split, whether or not it is a target; -1: what is to be predicted.

    Raises:
        NotFound: there is no such domain.
    """
    everyone = all_cases(dataset, split, domain, behaviour)
    allowed = None if domain is None else items_in(dataset, domain)
    cases = sampled(everyone, users)
    if users is None and len(cases) < len(everyone):
        say(
            f"  note: a sample of {len(cases):,} of the {len(everyone):,} users is measured "
            f"({split}), and standard errors stand beside the metrics; evaluation.test_users="
            f"{len(everyone)} measures all"
        )
    width = measures.width
    started = time.perf_counter()
    lists = rank_cases(
        ranker,
        cases,
        k=max(width, beam or 0),
        batch_size=_bounded(batch_size, dataset),
        beam=beam,
        exclude_seen=exclude_seen,
        seen_by=dataset.seen_by(behaviour),
        label=f"ranking ({split})",
        allowed=allowed,
        behaviour=behaviour,
    )
    seconds = time.perf_counter() - started
    ranks = ranks_of(lists[:, :width], cases.targets)
    result = SplitMetrics(
        split=split,
        users=len(ranks),
        metrics=summarise(ranks, measures),
        standard_errors=standard_errors(ranks, measures),
        seconds=seconds,
        users_per_second=len(ranks) / max(seconds, 1e-9),
        exclude_seen=exclude_seen,
    )
    result["lists"], error = _of_lists(lists[:, :LIST], dataset, allowed)
    result["standard_errors"][f"novelty@{LIST}"] = error
    if len(cases) < len(everyone):
        result["of_users"] = len(everyone)
    if domain is not None:
        result["domain"] = domain
    elif dataset.domains is not None:
        result["domains"] = by_domain(ranks, cases, dataset, measures)
    if behaviour >= 0:
        result["behaviour"] = dataset.behaviours[behaviour]
    elif (parts := by_behaviour(ranks, cases, dataset, measures)) is not None:
        result["behaviours"] = parts
    if newcomers := dataset.newcomers(split, behaviour):
        result["without_history"] = newcomers
    if beam is not None:
        result["beam"] = beam
    if identifiers is not None:
        group_of, counts = group(identifiers.codes)
        if len(counts) < identifiers.n_items:
            by_identifier = _identifier_ranks(lists, cases.targets, group_of)
            result["identifier_metrics"] = summarise(by_identifier, measures)
    return Measured(result, ranks, cases)


def _of_lists(
    top: Lists, dataset: Dataset, allowed: NDArray[np.bool_] | None
) -> tuple[dict[str, float], float]:
    """What the lists of all users are like, and the standard error of their novelty."""
    counts = np.bincount(top[top >= 0], minlength=dataset.n_items)
    if allowed is not None:
        counts = counts[allowed]
    bits = novelty(top, dataset.popularity)
    figures = {
        f"coverage@{LIST}": coverage(counts),
        f"gini@{LIST}": gini(counts),
        f"novelty@{LIST}": float(bits.mean()) if len(bits) else 0.0,
    }
    return figures, standard_error(bits)


def _bounded(batch_size: int, dataset: Dataset) -> int:
    """How many histories are ranked at a time: fewer where each may have a million scores."""
    return max(1, min(batch_size, _SCORES // dataset.n_items))


class Validation:
    """Validation cases that decide during training, the same for the same seed.

    Args:
        dataset: holds the cases.
        users: at most so many of them.
        seed: decides which.
        batch_size: histories ranked at a time.
    """

    def __init__(
        self, dataset: Dataset, *, users: int = 5000, seed: int = 0, batch_size: int = 256
    ) -> None:
        self.cases = sample_cases(dataset.held_out("valid"), users, seed)
        self._batch_size = _bounded(batch_size, dataset)

    def __bool__(self) -> bool:
        return len(self.cases) > 0

    def of_latest(self, items: NDArray[np.bool_]) -> Validation:
        """The cases with a history whose latest item is one of these, bool ``(n_items,)``."""
        histories = self.cases.histories
        there = np.flatnonzero(histories.lengths)
        latest = histories.items[histories.offsets[1:][there] - 1]
        part = copy(self)
        part.cases = self.cases.take(there[items[latest]])
        return part

    def metrics(self, ranker: Ranker, instructions: Sequence[str | None] = ()) -> dict[str, float]:
        """Metrics of a ranker on these cases, each with its instruction where there are any."""
        lists = rank_cases(
            ranker,
            self.cases,
            k=max(CUTS),
            batch_size=self._batch_size,
            instructions=instructions,
        )
        return summarise(ranks_of(lists, self.cases.targets))


def popularity_ranks(dataset: Dataset, cases: HeldOut, measures: Measures = PAPER) -> Ranks:
    """Ranks of the targets where everyone gets the items most frequent in training."""
    top = np.argsort(-dataset.popularity, kind="stable")[: measures.width]
    return ranks_of(np.tile(top, (len(cases), 1)), cases.targets)


def popularity_metrics(
    dataset: Dataset, cases: HeldOut, measures: Measures = PAPER
) -> dict[str, float]:
    """Metrics of recommending everyone the items most frequent in training."""
    return summarise(popularity_ranks(dataset, cases, measures), measures)


def _identifier_ranks(
    lists: Lists, targets: NDArray[np.int32], group_of: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rank of the target's identifier among the distinct identifiers of each list."""
    groups = np.where(lists >= 0, group_of[lists], -1)
    is_first = np.ones_like(groups, dtype=bool)
    is_first[:, 1:] = groups[:, 1:] != groups[:, :-1]  # items of one identifier are neighbours
    position = np.cumsum(is_first, axis=1) - 1
    hit = groups == group_of[targets][:, None]
    ranks = np.where(hit.any(1), np.take_along_axis(position, hit.argmax(1)[:, None], 1)[:, 0], -1)
    return ranks.astype(np.int64)
