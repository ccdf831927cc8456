"""What is said of a ranker: metrics of a split and of its parts; the ranks behind them."""

from __future__ import annotations

from typing import NamedTuple, NotRequired, TypedDict

from letterrec.data.splits import HeldOut, Split
from letterrec.evaluation.metrics import Ranks


class Group(TypedDict):
    """Metrics of the cases that have something in common, and their standard errors."""

    name: str
    cases: int
    metrics: dict[str, float]
    standard_errors: dict[str, float]


class PartMetrics(TypedDict):
    """Metrics of the users whose target is of one domain, or one behaviour, and their standard
    errors.
    """

    users: int
    metrics: dict[str, float]
    standard_errors: dict[str, float]


class SplitMetrics(TypedDict):
    """What is said of a ranker on a split.

    ``beam`` is there where it searches; runs of earlier versions lack ``exclude_seen``.
    ``identifier_metrics`` is there where items share identifiers: it scores the identifier instead
    of the item, as published code does. ``lists`` says what the top 10 of all users are like:
    ``coverage@10``, ``gini@10`` and ``novelty@10`` (bits). ``standard_errors`` are of the metrics,
    and of the novelty. ``of_users`` is there where ``users`` are a sample of so many,
    ``without_history`` where others have interactions in the split and none before; ``groups``
    where they were asked for. Of several sources, ``domains`` has the metrics by that of the
    target, and ``domain`` says that the items and targets of one alone were ranked. Of several
    behaviours to be predicted, ``behaviours`` has the metrics by that of the target, and
    ``behaviour`` says that one alone was asked for.
    """

    split: Split
    users: int
    beam: NotRequired[int]
    exclude_seen: NotRequired[bool]
    of_users: NotRequired[int]
    without_history: NotRequired[int]
    metrics: dict[str, float]
    standard_errors: NotRequired[dict[str, float]]
    lists: NotRequired[dict[str, float]]
    identifier_metrics: NotRequired[dict[str, float]]
    groups: NotRequired[list[Group]]
    domain: NotRequired[str]
    domains: NotRequired[dict[str, PartMetrics]]
    behaviour: NotRequired[str]
    behaviours: NotRequired[dict[str, PartMetrics]]
    seconds: float
    users_per_second: float


def parts_of(result: SplitMetrics) -> list[tuple[str, PartMetrics]]:
    """The metrics of each domain, then of each behaviour, where they were told apart."""
    return [*result.get("domains", {}).items(), *result.get("behaviours", {}).items()]


class Evaluation(TypedDict, total=False):
    """What is said of a ranker on the splits that it was measured on, and beside it by split the
    `popularity_metrics`.
    """

    valid: SplitMetrics
    test: SplitMetrics
    popularity: dict[Split, dict[str, float]]


class Measured(NamedTuple):
    """Metrics of a split, and the ranks and cases behind them.

    Attributes:
        metrics: of all users, each counted once.
        ranks: int64 ``(n_cases,)``: of the target of each case, from 0; -1 beyond the largest cut
            of the metrics.
        cases: those of `measured_cases`, in its order.
    """

    metrics: SplitMetrics
    ranks: Ranks
    cases: HeldOut
