"""Collaborative (CF) embeddings of items: trained with SASRec, or given as vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.data.dataset import Dataset
from letterrec.data.sequences import Histories
from letterrec.data.vectors import Order, checked, file_of, read_vectors
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
    norm_first: bool = True,
    validate: Callable[[SASRec], Mapping[str, float]] | None = None,
) -> SASRec:
    """Train SASRec on the training interactions; its item embeddings are the CF embeddings.

    Where interactions are of several behaviours, the network reads them, and is asked for the next
    item of each behaviour.

    A long sequence is trained in windows that overlap by one item, so that every interaction but a
    user's first is predicted once per epoch.

    Args:
        dataset: its training split is learned.
        options: of the training.
        dim: width of the item embeddings.
        layers: of `SASRec`, as are ``heads`` and ``dropout``.
        heads: attention heads.
        dropout: of embeddings, attention and block outputs.
        max_history: how many of the latest items of a history are read.
        norm_first: of `SASRec`.
        validate: measures the model during training; the epoch that validates best is kept. None
            keeps the last one.

    Returns:
        The trained network, in eval mode.

    Raises:
        DataError: no user has two training interactions.
    """
    training = dataset.training().events(dataset.n_behaviours)
    windows = _windows(training, max_history + 1)
    if len(windows) == 0:
        raise DataError(
            f"{dataset.name}: no user has two or more training interactions (four in all), so "
            "there is nothing to learn CF embeddings from; use a log with longer histories, or "
            "collaborative.source=FILE"
        )
    options = options.sized(len(windows))
    set_seed(options.seed)
    model = SASRec(
        n_items=dataset.n_items,
        dim=dim,
        layers=layers,
        heads=heads,
        dropout=dropout,
        max_history=max_history,
        norm_first=norm_first,
        n_behaviours=dataset.n_behaviours,
        targets=dataset.targets,
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


def _windows(histories: Histories, width: int) -> Histories:
    """`Histories.windows`, the latest window of each sequence first.

    The order decides which windows share a batch, and so the weights that a seed gives.

    >>> [w.tolist() for w in _windows(Histories.from_lists([[1, 2, 3, 4, 5, 6], [7, 8]]), 3)]
    [[4, 5, 6], [2, 3, 4], [1, 2], [7, 8]]
    """
    windows = histories.windows(width)
    sequence = np.repeat(np.arange(len(histories)), histories.n_windows(width))
    return windows.take(np.lexsort((-np.arange(len(windows)), sequence)))


def given_cf(
    source: str | Path,
    dataset: Dataset,
    *,
    ids: str | Path | None = None,
    order: Order = "ids",
    dim: int | None = None,
    quiet: bool = False,
) -> Embeddings:
    """CF embeddings from outside, in place of trained ones.

    Args:
        source: a file that `vectors.read_vectors` reads, or ``"given"`` for the embeddings that
            came with the data.
        dataset: the items that the embeddings belong to.
        ids: a file with the vectors' item ids, where ``source`` has none.
        order: ``"rows"`` takes vectors without ids in the order of ``dataset.item_ids``.
        dim: the width that is needed; None takes any.
        quiet: do not report vectors that are left out.

    Returns:
        float32 ``(n_items, dim)``; row ``i`` belongs to item row ``i``.

    Raises:
        DataError: there are none, they cannot be read, or they do not fit the items.
    """
    if source != "given":
        return read_vectors(
            file_of(source, "collaborative", "'train', 'given' or a file"),
            dataset,
            what="CF embeddings",
            setting="collaborative",
            ids=ids,
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
