"""Final training of the run that an engine serves, its edits included, into another folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from letterrec.data import Dataset, Frames, Sources
from letterrec.data.behaviours import as_known
from letterrec.data.reading import read_parts
from letterrec.files import fingerprint
from letterrec.identifiers.identifiers import Identifiers
from letterrec.runs import tracking
from letterrec.runs.run import Run
from letterrec.serving.catalogue.changes import Changes
from letterrec.serving.catalogue.log import locked, write_changes
from letterrec.serving.engine import Engine
from letterrec.stages import refitting
from letterrec.stages.refitting import Known, StartingWeights
from letterrec.training import distributed


def refit_served(
    engine: Engine,
    run: Run,
    folder: Path,
    *,
    data: str | Dataset | Frames | Sources | None,
    weights: StartingWeights | None,
    epochs: int | None,
    resume: bool,
) -> Run:
    """Train what an engine serves on all interactions; see `letterrec.refit`.

    Args:
        engine: of the run.
        run: finished.
        folder: of the new run.
        data: a newer log; None: the run's own.
        weights: where training starts; None: from nothing on the run's data, from its weights on
            newer ones.
        epochs: how long; None: as validation chose.
        resume: go on with the run in the folder.
    """
    changes = engine.changes_on_disk()
    trained = run.settings.data.model_copy(update={"cold_share": 0.0})
    settings = run.settings.model_copy(update={"data": trained})
    source = run.about["source"] if data is None else str(data)
    with distributed.main_first():
        if data is None:
            data = engine.dataset
        elif not isinstance(data, Dataset):
            data = read_parts(data, settings.data)
        dataset = refitting.everything(as_known(data, engine.dataset))
        refitted = Run.start(folder, settings, source, resume=resume)
        refitted.keep_data(dataset)
    content = engine.content
    if content is not None and len(changes.content):
        content = np.concatenate([content, changes.content])
    known = Known(
        engine.catalogue.item_ids, engine.identifiers, content, engine.catalogue.n_trained
    )
    refitting.refit(
        run,
        refitted,
        dataset,
        known,
        weights=weights or ("nothing" if data is engine.dataset else "run"),
        epochs=epochs,
    )
    if distributed.is_main():
        tracking.finish(refitted.files, settings)
        _carry(changes, refitted, dataset)
    return refitted


def _carry(changes: Changes, refitted: Run, dataset: Dataset) -> None:
    """Take over what is blocked, deleted or added and not in the data, unless there are edits."""
    kept = changes.without(dataset.item_rows)
    if refitted.files.catalogue.exists() or not (kept.item_ids or kept.states):
        return
    if refitted.is_done("identifiers"):
        identifiers = refitted.identifiers(dataset)
    else:
        identifiers = Identifiers.none(dataset.n_items)
    with locked(refitted.folder):
        write_changes(refitted.folder, fingerprint(dataset.item_ids, identifiers.codes), kept)
