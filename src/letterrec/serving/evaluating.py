"""Metrics of the run that an engine serves, on whatever part of a split is asked for."""

from __future__ import annotations

from collections.abc import Iterable

from letterrec.data.domains import check_known, names_of
from letterrec.data.splits import Split
from letterrec.evaluation.breakdowns import By
from letterrec.evaluation.results import SplitMetrics
from letterrec.serving.behaviours import asked_behaviour, row_of
from letterrec.serving.engine import Engine
from letterrec.stages.measuring import measure_split, measured_as


def evaluate_served(
    engine: Engine,
    split: Split,
    *,
    beam: int | None,
    exclude_seen: bool,
    by: By | None,
    cuts: Iterable[int],
    metrics: Iterable[str],
    users: int | None,
    domain: str | None,
    behaviour: str | None,
) -> SplitMetrics:
    """Rank a split by what an engine serves; see `letterrec.evaluate`.

    Args:
        engine: of the run, without its edits.
        split: whose held-out interactions are ranked.
        beam: prefixes kept per level; None: the run's.
        exclude_seen: rank without the items of the history.
        by: also by group of users.
        cuts: beside the run's.
        metrics: beside the run's.
        users: a sample of at most so many; None: as the run's settings say.
        domain: whose items and targets alone are ranked; None: all.
        behaviour: that is asked for alone; None: the run's targets.

    Raises:
        NotFound: there is no such domain.
        RequestError: a beam is given for a baseline, or the run cannot be asked for the behaviour.
        SettingsError: a cut, a metric or the number of users is none.
    """
    dataset, model = engine.dataset, engine.model
    if beam is not None:
        model.check_searches()
    settings = measured_as(engine.settings, cuts, metrics, users)
    if domain is not None:
        check_known(domain, names_of(dataset))
    asked_behaviour(behaviour, dataset, any_of_them=model.reads_behaviours)
    return measure_split(
        settings,
        dataset,
        engine.ranker,
        split,
        identifiers=engine.identifiers if model.generates else None,
        beam=beam,
        exclude_seen=exclude_seen,
        by=by,
        domain=domain,
        behaviour=-1 if behaviour is None else row_of(behaviour, "behaviour", dataset),
    ).metrics
