"""Training on sequences: each of their next items, or their items as they are, in batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.baselines.base import Baseline
from letterrec.data.sequences import Histories
from letterrec.errors import DataError
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.loop import batches_by_length, random_batches, train
from letterrec.training.options import TrainingOptions
from letterrec.training.steps import Rows


def train_on_sequences(
    model: Baseline,
    sequences: Histories,
    options: TrainingOptions,
    validate: Callable[[], Mapping[str, float]] | None,
    label: str,
    *,
    by_length: bool = True,
) -> TrainingLog:
    """Train ``model(items)`` on batches of whole sequences.

    Args:
        model: takes int64 ``(batch, longest)`` item rows, left-aligned, -1 after the end.
        sequences: none longer than the model reads.
        options: of the training.
        validate: metrics of the model as it is.
        label: shown with the progress.
        by_length: whether the sequences of a batch are of similar length, which pads little, or
            of any.

    Raises:
        DataError: there is no sequence.
    """
    _refuse_none(sequences)

    def collate(rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        return (torch.from_numpy(sequences.take(rows).padded()),)

    def batches(epoch: int) -> list[Rows]:
        if by_length:
            return batches_by_length(sequences.lengths, options, epoch)
        return random_batches(len(sequences), options, epoch)

    return train(
        model,
        batches=batches,
        collate=collate,
        options=options,
        validate=validate,
        label=label,
    )


def train_on_next_items(
    model: Baseline,
    histories: Histories,
    options: TrainingOptions,
    validate: Callable[[], Mapping[str, float]] | None,
    label: str,
) -> TrainingLog:
    """Train ``model(history, users, targets)`` on every item that has one before it.

    Args:
        model: takes histories int64 ``(batch, longest)``, left-aligned, -1 after the end, users
            int64 ``(batch,)``, and the items that follow, int64 ``(batch,)``. ``longest`` is at
            most its ``max_history``.
        histories: one sequence per user.
        options: of the training.
        validate: metrics of the model as it is.
        label: shown with the progress.

    Raises:
        DataError: no sequence has two items.
    """
    users = np.repeat(np.arange(len(histories)), np.maximum(histories.lengths - 1, 0))
    first = np.zeros(len(histories.items), dtype=bool)
    first[histories.offsets[:-1][histories.lengths > 0]] = True
    targets = np.flatnonzero(~first)  # places in `histories.items`
    starts = np.maximum(histories.offsets[:-1][users], targets - model.max_history)
    before = histories.slice(starts, targets)
    _refuse_none(before)

    def collate(rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        following = histories.items[targets[rows]].astype(np.int64)
        padded = before.take(rows).padded()
        return tuple(torch.from_numpy(part) for part in (padded, users[rows], following))

    return train(
        model,
        batches=lambda epoch: batches_by_length(before.lengths, options, epoch),
        collate=collate,
        options=options,
        validate=validate,
        label=label,
    )


def _refuse_none(sequences: Histories) -> None:
    if len(sequences) == 0:
        raise DataError(
            "no training sequence has two items: expected at least one item and the next; give "
            "users with longer histories"
        )
