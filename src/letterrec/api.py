"""What can be asked of a finished run: open it, evaluate it, inspect it.

Knows which parts of a run folder make an engine. Leaves how they came about to `pipeline`.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

from letterrec.data import Split
from letterrec.evaluation import cold_start
from letterrec.evaluation.protocol import evaluate_split
from letterrec.pipeline import trained_recommender
from letterrec.progress import shown
from letterrec.runs.arguments import as_beam, as_folder
from letterrec.runs.run import Run
from letterrec.serving.engine import Engine


def load(folder: str | PathLike[str] | Run, edits: bool = True) -> Engine:
    """Open a finished run to recommend from.

    Args:
        folder: of the run, or the run that `letterrec.fit` gave.
        edits: take over what was added, blocked and deleted since training; without them the
            catalogue is the one trained on.

    Raises:
        RunError: there is no run, or it is unfinished or damaged.
    """
    run = Run.open(as_folder(folder, "folder"))
    run.require("recommender")
    dataset = run.dataset()
    identifiers = run.identifiers(dataset)
    content = run.embeddings("content", dataset.n_items)
    recommender = trained_recommender(run, dataset, identifiers, content)
    transitions = run.transitions(dataset.n_items) if run.is_done("transitions") else None
    engine = Engine(
        run.folder, run.settings, dataset, identifiers, recommender, content, transitions
    )
    if edits:
        engine.refresh()
    return engine


def evaluate(
    folder: str | PathLike[str] | Run,
    split: Split = "test",
    beam: int | None = None,
    exclude_seen: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Metrics of a finished run on a split; see `evaluation.evaluate_split`.

    Args:
        folder: of the run, or the run that `letterrec.fit` gave.
        split: whose held-out interactions are ranked.
        beam: prefixes kept per level by beam search; None takes the run's.
        exclude_seen: rank without the items of the history, as in service.
        progress: show on stderr how far the ranking is.

    Raises:
        RequestError: ``beam`` is below 1.
        RunError: there is no run, or it is unfinished or damaged.
    """
    beam = as_beam(beam)
    engine = load(folder, edits=False)
    with shown(progress):
        metrics, _ = evaluate_split(
            engine.recommender,
            engine.trie,
            engine.dataset,
            engine.identifiers,
            split=split,
            beam=beam or engine.settings.evaluation.beam,
            batch_size=engine.settings.evaluation.batch_size,
            transitions=engine.catalogue.transitions,
            exclude_seen=exclude_seen,
        )
    return metrics


def evaluate_cold(folder: str | PathLike[str] | Run, beam: int | None = None) -> dict[str, Any]:
    """Metrics on items held out of training (``data.cold_share``); see `cold_start`."""
    return cold_start.evaluate_cold(load(folder, edits=False), as_beam(beam))


def inspect(folder: str | PathLike[str] | Run) -> dict[str, Any]:
    """What a run's identifiers look like; see `identifiers.diagnose`."""
    return Run.open(as_folder(folder, "folder")).diagnostics()
