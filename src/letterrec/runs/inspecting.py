"""What a run's model has learned, described: its identifiers, or a baseline's weights."""

from __future__ import annotations

from typing import TypedDict, final

from letterrec.baselines import is_baseline
from letterrec.identifiers.diagnostics import Diagnosis, LevelUse, domain_use
from letterrec.runs.run import Run


@final
class Weights(TypedDict):
    """What `inspect` says of a baseline: the shape of each tensor that training has decided, by
    name; of identifiers it has no levels.
    """

    recommender: str
    levels: list[LevelUse]
    weights: dict[str, list[int]]


def inspect(run: Run) -> Diagnosis | Weights:
    """What a run's identifiers look like, of several sources also by domain; of a baseline, which
    has none, its `Weights`.

    Raises:
        RunError: it is unfinished or damaged.
    """
    if not is_baseline(run.settings):
        found = run.diagnostics()
        dataset = run.dataset()
        if dataset.domains is not None:
            found["domains"] = domain_use(run.identifiers(dataset), dataset.domains)
        return found
    weights = {name: list(tensor.shape) for name, tensor in run.weights().items()}
    return {"recommender": run.settings.recommender.name, "levels": [], "weights": weights}
