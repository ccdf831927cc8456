"""Which held-out interactions are ranked, and the metrics of parts of them: of one domain, of one
behaviour.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from letterrec.data import Dataset
from letterrec.data.domains import items_in, names_of
from letterrec.data.splits import HeldOut, Split, sample_cases
from letterrec.data.targets import predicted
from letterrec.evaluation.metrics import Measures, Ranks, standard_errors, summarise
from letterrec.evaluation.results import PartMetrics

EVERYONE = 100_000  # the most users who are all measured where their number is unset
SAMPLE = 20_000  # users measured where there are more


def measured_cases(
    dataset: Dataset,
    split: Split,
    users: int | None = None,
    domain: str | None = None,
    behaviour: int = -1,
) -> HeldOut:
    """The cases that `protocol.evaluate_split` ranks.

    Args:
        dataset: holds the cases.
        split: ``"valid"`` or ``"test"``.
        users: a sample of at most so many, which depends on the data alone; None: all, or, where
            there are more than 100,000, a sample of 20,000.
        domain: those whose target is of it; None: all.
        behaviour: row of that of the targets; -1: of what is to be predicted.
    """
    return sampled(all_cases(dataset, split, domain, behaviour), users)


def all_cases(
    dataset: Dataset, split: Split, domain: str | None = None, behaviour: int = -1
) -> HeldOut:
    """The same of all users."""
    cases = dataset.held_out(split, behaviour)
    if domain is None:
        return cases
    return cases.take(np.flatnonzero(items_in(dataset, domain)[cases.targets]))


def sampled(cases: HeldOut, users: int | None) -> HeldOut:
    """The sample that `measured_cases` takes."""
    if users is None:
        users = len(cases) if len(cases) <= EVERYONE else SAMPLE
    return sample_cases(cases, users, seed=0)


def by_domain(
    ranks: Ranks, cases: HeldOut, dataset: Dataset, measures: Measures
) -> dict[str, PartMetrics]:
    """Metrics by the domain of the target."""
    return {
        name: _of_part(ranks[items_in(dataset, name)[cases.targets]], measures)
        for name in names_of(dataset)
    }


def by_behaviour(
    ranks: Ranks, cases: HeldOut, dataset: Dataset, measures: Measures
) -> dict[str, PartMetrics] | None:
    """Metrics by the behaviour of the target; None where all targets are of one."""
    targets = predicted(dataset.targets, len(dataset.behaviours))
    of_each = cases.behaviours
    if of_each is None or len(targets) < 2:
        return None
    return {dataset.behaviours[b]: _of_part(ranks[of_each == b], measures) for b in targets}


def _of_part(ranks: NDArray[np.int64], measures: Measures) -> PartMetrics:
    return PartMetrics(
        users=len(ranks),
        metrics=summarise(ranks, measures),
        standard_errors=standard_errors(ranks, measures),
    )
