"""Which behaviours are to be predicted, and which are context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from letterrec.data.dataset import Dataset
from letterrec.errors import DataError


def with_targets(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The same data, of which some behaviours are to be predicted and evaluated.

    Args:
        dataset: with behaviours.
        names: of those to be predicted; the others are context.

    Raises:
        DataError: a behaviour is unknown, or the data have none.
    """
    if not dataset.behaviours:
        raise DataError(
            f"data.targets = {list(names)!r}, but {dataset.name} has no behaviours; give a log "
            "with a column 'behaviour', name it with --columns behaviour=NAME, or cut ratings into "
            "grades with data.grades"
        )
    rows = {behaviour_row(dataset.behaviours, name, "data.targets") for name in names}
    chosen = replace(dataset, targets=tuple(sorted(rows)))
    is_target = chosen.is_target
    if is_target is None or not is_target.any():
        raise DataError(
            f"data.targets = {list(names)!r}: no interaction of {dataset.name} is one of them; "
            "lower data.k_core, or choose others"
        )
    context = [name for name in dataset.behaviours if name not in names]
    note = (
        f"targets: {int(is_target.sum()):,} interactions of {', '.join(names)} are to be "
        f"predicted, {int((~is_target).sum()):,} are context ({', '.join(context) or 'none'})"
    )
    return replace(chosen, warnings=(*dataset.warnings, note))


def as_known(dataset: Dataset, known: Dataset) -> Dataset:
    """The same data with the behaviour rows, and the targets, of other data.

    Args:
        dataset: read anew, such as a newer log; some behaviours may be lacking.
        known: what a model was trained on.

    Raises:
        DataError: a behaviour is not known, or one side alone has behaviours.
    """
    of_each = dataset.interactions.behaviours
    if of_each is None and not known.behaviours:
        return dataset
    unknown = [name for name in dataset.behaviours if name not in known.behaviours]
    if of_each is None or not known.behaviours or unknown:
        raise DataError(
            f"{dataset.name} has the behaviours {list(dataset.behaviours)}, and what was trained "
            f"on has {list(known.behaviours)}: expected some of these; fit a new run"
        )
    rows = np.array([known.behaviours.index(name) for name in dataset.behaviours], dtype=np.int8)
    interactions = replace(dataset.interactions, behaviours=rows[of_each])
    return replace(
        dataset,
        interactions=interactions,
        behaviours=known.behaviours,
        targets=known.targets,
        graded=known.graded,
    )


def behaviour_row(known: Sequence[str], name: str, what: str) -> int:
    """The row of a behaviour.

    Raises:
        DataError: it is unknown.
    """
    if name not in known:
        raise DataError(f"{what}: {name!r} is no behaviour; expected {' or '.join(known)}")
    return known.index(name)
