"""A finished run becomes the engine that answers from it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from letterrec.config.settings import is_baseline
from letterrec.data import Dataset
from letterrec.identifiers.identifiers import Identifiers
from letterrec.processes.apart import apart
from letterrec.runs.run import Run
from letterrec.serving.engine import Engine
from letterrec.serving.models import GenerativeModel, ScoringModel
from letterrec.stages.learning import trained_baseline, trained_recommender

Value = TypeVar("Value")


class _Read(Protocol):
    """How tables are read: here, or apart from this process."""

    def __call__(self, read: Callable[[], Value]) -> Value: ...


def load(run: Run, *, edits: bool = True) -> Engine:
    """Open a finished run to recommend from.

    Args:
        run: finished.
        edits: take over what was added, blocked and deleted since training.

    Raises:
        RunError: it is unfinished or damaged.
    """
    engine = _engine_of(run, _here)
    if edits:
        engine.refresh()
    return engine


def load_to_fork(folder: Path) -> Engine:
    """Open a finished run so that the process can be forked after it: tables are read by a process
    of their own, whose threads end with it. Edits are looked at, and not taken over yet.

    Raises:
        RunError: there is no run, or it is unfinished or damaged.
    """
    engine = _engine_of(Run.open(folder), apart)
    apart(engine.changes_on_disk)  # which are refused now or never
    return engine


def _here(read: Callable[[], Value]) -> Value:
    return read()


def _engine_of(run: Run, through: _Read) -> Engine:
    """The engine of a run as it was trained."""
    run.require("recommender")
    dataset = through(run.dataset)
    if is_baseline(run.settings):
        return _baseline_engine(run, dataset)
    return _generative_engine(run, dataset, through(partial(run.identifiers, dataset)))


def _generative_engine(run: Run, dataset: Dataset, identifiers: Identifiers) -> Engine:
    content = run.embeddings("content", dataset.n_items)
    recommender = trained_recommender(run, dataset, identifiers, content)
    transitions = run.transitions(dataset.n_items) if run.is_done("transitions") else None
    settings = run.settings
    model = GenerativeModel(settings.recommender.name, recommender, settings.evaluation.beam)
    return Engine(
        run.folder,
        run.settings,
        dataset,
        identifiers,
        model,
        content,
        transitions,
        run_id=run.id,
    )


def _baseline_engine(run: Run, dataset: Dataset) -> Engine:
    model = ScoringModel(
        run.settings.recommender.name, trained_baseline(run, dataset), dataset.target_behaviours
    )
    none = Identifiers.none(dataset.n_items)
    return Engine(run.folder, run.settings, dataset, none, model, run_id=run.id)
