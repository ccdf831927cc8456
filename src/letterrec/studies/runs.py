"""The runs of a study: made, gone on with, or read, and never the same work twice."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from letterrec import api, pipeline
from letterrec.config.settings import Settings
from letterrec.data import check_source
from letterrec.data.reading import read_split
from letterrec.decoding.ranker import EventRanker
from letterrec.runs.layout import holds_run, run_folders
from letterrec.runs.reuse import take_over
from letterrec.runs.run import Run
from letterrec.stages import measuring, stages
from letterrec.studies import Model
from letterrec.training.devices import device

_LAST = "evaluation"


def finished_run(
    source: str,
    folder: Path,
    settings: Settings,
    *,
    model: Model = "generative",
    until: Literal["identifiers", "evaluation"] = "evaluation",
    shelf: Path,
) -> Run:
    """The run in a folder, made or gone on with if need be.

    Args:
        source: the data.
        folder: of the run; a finished one with these settings is only read.
        settings: of the run.
        model: ``"sasrec"`` trains and ranks with SASRec alone (the ``collaborative`` settings).
        until: the last stage wanted of a generative recommender.
        shelf: the folder under which runs lie that this one may take results from.

    Raises:
        RunError: the folder holds a run with other settings.
    """
    if holds_run(folder):
        run = Run.open(folder)
        if run.settings == settings and run.is_done(until if model == "generative" else _LAST):
            return run
    others = run_folders(shelf)
    if model == "sasrec":
        return fit_sasrec(source, folder, settings, reuse=others)
    return api.fit(source, folder, settings, resume=True, reuse=others, until=until)


def fit_sasrec(source: str, folder: Path, settings: Settings, *, reuse: list[Path]) -> Run:
    """Train SASRec as the ``collaborative`` settings say and rank with it, in a run folder.

    The folder has what `pipeline.fit` leaves, except identifiers and what follows from them.
    """
    check_source(source)
    run = Run.start(folder, settings, source, resume=True)
    dataset, cold = read_split(source, settings.data, settings.seed)
    run.keep_data(dataset, cold)
    take_over(run, reuse)
    pipeline.collaborative_embeddings(run, dataset)
    if not run.is_done(_LAST):
        model = run.sasrec(dataset).to(device())
        ranker = EventRanker(model, device(), n_behaviours=dataset.n_behaviours)
        run.stage(stages.EVALUATION, dataset, partial(measuring.measure, run, dataset, ranker))
    return run


def seconds_of(run: Run) -> float:
    """What a run cost, counted as if it had done all of it alone."""
    return float(sum(record["seconds"] for record in run.about["stages"].values()))
