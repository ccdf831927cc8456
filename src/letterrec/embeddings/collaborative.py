"""CF embeddings of items: trained on the interactions by SASRec, or given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.data.dataset import Dataset
from letterrec.data.sequences import Histories
from letterrec.data.vectors import Order, checked, read_vectors
from letterrec.errors import DataError
from letterrec.nn.sasrec import SASRec
from letterrec.training.devices import set_seed
from letterrec.training.loop import batches_by_length, train
from letterrec.training.options import TrainingOptions

Embeddings = NDArray[np.float32]


def train_cf(
    dataset: Dataset,
    options: TrainingOptions,
    *,
    dim: int = 32,
    layers: int = 2,
    heads: int = 2,
    dropout: float = 0.2,
    max_history: int = 20,
    validate: Callable[[SASRec], Mapping[str, float]] | None = None,
) -> SASRec:
    """Train SASRec on the training interactions, selected by validation NDCG@10.

    A sequence longer than ``max_history`` is trained in windows that overlap by one item, so that
    every interaction but a user's first is predicted once per epoch.

    Args:
        dataset: its `training` split is learned.
        options: of the training.
        dim: of the item embeddings; ``layers``, ``heads``, ``dropout`` and ``max_history`` are
            those of `SASRec`, too.
        validate: metrics of the model as it is, which select the epoch; None keeps the last one.

    Returns:
        The module with the best weights, in eval mode.

    Raises:
        DataError: no user has two training interactions.
    """
    windows = _windows(dataset.training(), max_history)
    if len(windows) == 0:
        raise DataError(
            f"{dataset.name}: no user has two or more training interactions (four in all), so "
            "there is nothing to learn CF embeddings from; use a log with longer histories, or "
            "collaborative.source=FILE"
        )
    set_seed(options.seed)
    model = SASRec(
        n_items=dataset.n_items,
        dim=dim,
        layers=layers,
        heads=heads,
        dropout=dropout,
        max_history=max_history,
    )
    model.popularity = torch.from_numpy(dataset.popularity + 1).float()

    def collate(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        padded = torch.from_numpy(windows.take(rows).padded())  # (batch, length + 1)
        return padded[:, :-1], padded[:, 1:]

    train(
        model,
        batches=lambda epoch: batches_by_length(windows.lengths, options, epoch),
        collate=collate,
        options=options,
        validate=None if validate is None else lambda: validate(model),
        label="CF embeddings (SASRec)",
    )
    return model


def _windows(histories: Histories, max_history: int) -> Histories:
    """Pieces of at most ``max_history + 1`` items; each piece begins with the item that ended the
    one before, the latest piece is full. Pieces of fewer than two items are left out.

    >>> [w.tolist() for w in _windows(Histories.from_lists([[1, 2, 3, 4, 5, 6], [7]]), 2)]
    [[4, 5, 6], [2, 3, 4], [1, 2]]
    """
    pieces = [
        history[max(0, end - max_history) : end + 1]
        for history in histories
        for end in range(len(history) - 1, 0, -max_history)
    ]
    return Histories.from_lists(cast(Any, pieces))


def given_cf(
    source: str | Path,
    dataset: Dataset,
    *,
    ids: str | Path | None = None,
    order: Order = "ids",
    dim: int | None = None,
    quiet: bool = False,
) -> Embeddings:
    """CF embeddings that exist already, row ``i`` belonging to item row ``i``.

    Args:
        source: a file as `vectors.read_vectors` takes it, or ``"given"`` for those that came with
            the data.
        dataset: what the embeddings belong to.
        ids: file of the ids, where the other has none.
        order: ``"rows"`` takes vectors without ids in the order of ``dataset.item_ids``.
        dim: the width that is needed; None takes any.
        quiet: do not say what is left out.

    Returns:
        float32 ``(n_items, dim)``.

    Raises:
        DataError: there are none, they cannot be read, or they do not fit the items.
    """
    if source != "given":
        path = Path(source).expanduser()
        if not path.suffix and not path.exists():
            raise DataError(
                f"collaborative.source = {str(source)!r}: expected 'train', 'given' or a file"
            )
        return read_vectors(
            path,
            dataset,
            what="CF embeddings",
            setting="collaborative",
            ids=None if ids is None else Path(ids).expanduser(),
            order=order,
            dim=dim,
            quiet=quiet,
        )
    if dataset.given_cf is None:
        raise DataError(
            f"collaborative.source = 'given', but no CF embeddings came with {dataset.name}; "
            "give a file of vectors with their ids, or use collaborative.source=train"
        )
    return checked(dataset.given_cf, "CF embeddings that came with the data", dataset.n_items, dim)
