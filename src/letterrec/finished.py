"""What can be asked of a finished run: open it, evaluate it, inspect it.

Knows which parts of a run folder make an engine. Leaves how they came about to `pipeline`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from letterrec import cold
from letterrec.data import Split
from letterrec.errors import RequestError
from letterrec.evaluation import evaluate_split
from letterrec.pipeline import trained_recommender
from letterrec.run import Run
from letterrec.serving.engine import Engine


def load(folder: str | Path, edits: bool = True) -> Engine:
    """Open a finished run to recommend from.

    Args:
        folder: of the run.
        edits: take over what was added, blocked and deleted since training; without them the
            catalogue is the one trained on.

    Raises:
        RunError: there is no run, or it is unfinished or damaged.
    """
    run = Run.open(Path(folder))
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
    folder: str | Path,
    split: Split = "test",
    beam: int | None = None,
    exclude_seen: bool = False,
) -> dict[str, Any]:
    """Metrics of a finished run on a split; see `evaluation.evaluate_split`.

    Raises:
        RequestError: ``beam`` is below 1.
        RunError: there is no run, or it is unfinished or damaged.
    """
    _check_beam(beam)
    engine = load(folder, edits=False)
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


def evaluate_cold(folder: str | Path, beam: int | None = None) -> dict[str, Any]:
    """Metrics on items held out of training (``data.cold_share``); see `cold.evaluate_cold`."""
    _check_beam(beam)
    return cold.evaluate_cold(load(folder, edits=False), beam)


def _check_beam(beam: int | None) -> None:
    if beam is None:
        return
    if isinstance(beam, bool) or not isinstance(beam, int) or beam < 1:
        raise RequestError(f"beam = {beam!r}: expected a whole number of at least 1")


def inspect(folder: str | Path) -> dict[str, Any]:
    """What a run's identifiers look like; see `identifiers.diagnose`."""
    return Run.open(Path(folder)).diagnostics()
