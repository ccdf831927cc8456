"""What a run's model has learned, described: its identifiers, or a baseline's weights."""

from __future__ import annotations

from typing import TypedDict, final

from letterrec.config.settings import is_baseline
from letterrec.files.arrays import read_shapes
from letterrec.identifiers.diagnostics import Diagnosis, LevelUse, domain_use
from letterrec.runs.artefacts import Artefacts


@final
class Weights(TypedDict):
    """What `inspect` says of a baseline: the shape of each tensor that training has decided, by
    name; of identifiers it has no levels.
    """

    recommender: str
    levels: list[LevelUse]
    weights: dict[str, list[int]]


def inspect(run: Artefacts) -> Diagnosis | Weights:
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
    run.require("recommender")
    weights = read_shapes(run.weights_path)
    return {"recommender": run.settings.recommender.name, "levels": [], "weights": weights}
