"""Training interactions -> CF embeddings, trained here or given.

Knows how SASRec is trained and selected, and how embeddings from outside are checked. Leaves the
network to `sasrec`, the optimization loop to `training`, and what the embeddings regularize (eq. 3
of the paper) to the tokenizers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.data.dataset import Dataset, HeldOut, Histories
from letterrec.errors import DataError
from letterrec.metrics import Ranks, summarise
from letterrec.sasrec import SASRec
from letterrec.store import fingerprint, read_tensors
from letterrec.training import batches_by_length, set_seed, train

Embeddings = NDArray[np.float32]


def train_cf(
    dataset: Dataset,
    *,
    dim: int = 32,
    layers: int = 2,
    heads: int = 2,
    dropout: float = 0.2,
    max_history: int = 20,
    epochs: int = 14,
    batch_size: int = 256,
    learning_rate: float = 4e-3,
    weight_decay: float = 0.01,
    warmup: float = 0.05,
    clip: float = 1.0,
    patience: int = 5,
    users: int = 5000,
    every: int = 1,
    seed: int = 0,
    folder: Path | None = None,
) -> SASRec:
    """Train SASRec on the training interactions, selected by validation NDCG@10.

    A sequence longer than ``max_history`` is trained in windows that overlap by one item, so that
    every interaction but a user's first is predicted once per epoch.

    Args:
        dataset: its `training` split is learned, its ``valid`` split selects the epoch.
        batch_size: windows per step.
        users: validation users, at most; a random subset decided by ``seed``.

    The shape of the network and ``dropout`` are as in `SASRec`, the other keywords as in
    `training.train`; with a ``folder`` training resumes exactly.

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
    set_seed(seed)
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
        batches=lambda epoch: batches_by_length(windows.lengths, batch_size, seed, epoch),
        collate=collate,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup=warmup,
        clip=clip,
        patience=patience,
        validate=_validation(model, _subset(dataset.held_out("valid"), users, seed)),
        criterion="ndcg@10",
        every=every,
        seed=seed,
        folder=folder,
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


def _subset(cases: HeldOut, users: int, seed: int) -> HeldOut:
    if len(cases) <= users:
        return cases
    rows = np.random.default_rng(seed).choice(len(cases), users, replace=False)
    return cases.take(np.sort(rows))


def _validation(model: SASRec, cases: HeldOut) -> Callable[[], dict[str, float]] | None:
    if len(cases) == 0:
        return None
    return lambda: ranking(model, cases)


def ranking(model: SASRec, cases: HeldOut, batch_size: int = 512) -> dict[str, float]:
    """Recall and NDCG at 5 and 10 of `target_ranks`."""
    return summarise(target_ranks(model, cases, batch_size))


def target_ranks(model: SASRec, cases: HeldOut, batch_size: int = 512) -> Ranks:
    """Ranks of the held-out items among the whole catalogue.

    An item that ties with the target counts as ranked above it.

    Args:
        model: scores the histories.
        cases: held-out interactions, at least one.
        batch_size: cases scored at a time; fewer where the catalogue is large.

    Returns:
        int64 ``(n_cases,)``, from 0.
    """
    batch_size = max(1, min(batch_size, (1 << 26) // model.items.num_embeddings))
    ranks = []  # of the targets, from 0
    for start in range(0, len(cases), batch_size):
        part = cases.take(np.arange(start, min(start + batch_size, len(cases))))
        histories = torch.from_numpy(part.histories.padded(model.max_history))
        scores = model.scores(histories.to(model.items.weight.device))  # (batch, n_items)
        target = torch.from_numpy(part.targets.astype(np.int64)).to(scores.device)[:, None]
        ranks.append(((scores >= scores.gather(1, target)).sum(1) - 1).cpu().numpy())
    return np.concatenate(ranks)


def given_cf(source: str | Path, dataset: Dataset, *, dim: int | None = None) -> Embeddings:
    """CF embeddings that exist already, row ``i`` belonging to item row ``i``.

    A ``.pt`` file holds a tensor, or a dict with one matrix, and is read without unpickling code;
    a ``.npy`` file holds a numeric array; a ``.safetensors`` file holds one matrix and may carry
    the fingerprint of its item ids (that of a LetterRec run does), which is then checked.

    Args:
        source: the file, or ``"given"`` for those that came with the data.
        dataset: what the embeddings belong to.
        dim: the width that is needed; None takes any.

    Returns:
        float32 ``(n_items, dim)``.

    Raises:
        DataError: there are none, they cannot be read, or they do not fit the items.
    """
    if source == "given":
        if dataset.given_cf is None:
            raise DataError(
                f"collaborative.source = 'given', but no CF embeddings came with {dataset.name}; "
                "give a .pt, .npy or .safetensors file, or use collaborative.source=train"
            )
        return _checked(dataset.given_cf, dataset, dim, "that came with the data")
    path = Path(source).expanduser()
    if not path.is_file():
        raise DataError(
            f"CF embeddings {path}: there is no such file; "
            "collaborative.source is 'train', 'given' or a .pt, .npy or .safetensors file"
        )
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise DataError(f"CF embeddings {path}: expected a .pt, .npy or .safetensors file")
    try:
        found, about = reader(path)
    except Exception:  # a damaged file makes the parsers raise anything
        raise DataError(
            f"CF embeddings {path}: not a readable {path.suffix} file of plain numbers; "
            "save the matrix alone, as a tensor or an array"
        ) from None
    if isinstance(found, dict):
        found = _only_matrix(found, path)
    ids = fingerprint(dataset.item_ids)
    if about.get("items", ids) != ids:
        raise DataError(
            f"CF embeddings {path}: made for other items, or for another order of them; "
            "train them anew (collaborative.source=train) or give the file that fits these data"
        )
    return _checked(found, dataset, dim, str(path))


def _read_torch(path: Path) -> tuple[Any, dict[str, Any]]:
    with warnings.catch_warnings():  # of an unusual pickle protocol: it is refused anyway
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True), {}


_READERS: dict[str, Callable[[Path], tuple[Any, dict[str, Any]]]] = {
    ".npy": lambda path: (np.load(path, allow_pickle=False), {}),
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".safetensors": read_tensors,
}


def _only_matrix(found: dict[str, Any], path: Path) -> Any:
    matrices = {k: v for k, v in found.items() if getattr(v, "ndim", 0) == 2}
    if len(matrices) != 1:
        raise DataError(
            f"CF embeddings {path}: holds {len(matrices)} matrices "
            f"({', '.join(matrices) or 'none'}); save the item embeddings alone"
        )
    return next(iter(matrices.values()))


def _checked(embeddings: Any, dataset: Dataset, dim: int | None, source: str) -> Embeddings:
    """What came from outside as float32 ``(n_items, dim)``, or an error."""
    n_items = dataset.n_items
    if isinstance(embeddings, Tensor) and embeddings.is_floating_point():
        embeddings = embeddings.detach().float().cpu().numpy()
    shape = tuple(getattr(embeddings, "shape", ()))
    if not isinstance(embeddings, np.ndarray) or embeddings.dtype.kind != "f" or len(shape) != 2:
        kind = getattr(embeddings, "dtype", type(embeddings).__name__)
        raise DataError(
            f"CF embeddings {source}: {kind} of shape {shape}; expected floating-point numbers of "
            f"shape ({n_items}, {dim or 'any'})"
        )
    if shape[0] != n_items:
        hint = " (drop the padding item's row)" if shape[0] == n_items + 1 else ""
        raise DataError(
            f"CF embeddings {source}: {shape[0]} rows for {n_items} items; "
            f"give one row per item, in the order of the items{hint}"
        )
    if dim is not None and shape[1] != dim:
        raise DataError(
            f"CF embeddings {source}: {shape[1]} columns, expected {dim}; "
            f"set collaborative.dim and tokenizer.dim to {shape[1]}"
        )
    broken = int((~np.isfinite(embeddings)).any(1).sum())
    if broken:
        raise DataError(f"CF embeddings {source}: {broken} rows hold NaN or infinity; train anew")
    return np.ascontiguousarray(embeddings, dtype=np.float32)
