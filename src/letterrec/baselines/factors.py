"""What factor models share: training on pairs of user and item, and users that nobody knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from letterrec.baselines.base import Baseline
from letterrec.data.sequences import Histories
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.loop import batches_by_length, train
from letterrec.training.options import TrainingOptions

Loss = Literal["softmax", "bpr"]

_ROUNDS = 8  # in which negatives that a user has are drawn anew
_RIDGE = 1e-3  # of the fold-in, relative to the mean square of what it reads


def train_on_pairs(
    model: Baseline,
    histories: Histories,
    options: TrainingOptions,
    validate: Callable[[], Mapping[str, float]] | None,
    *,
    loss: Loss,
    label: str,
) -> TrainingLog:
    """Train ``model(users, items, others)`` on every interaction.

    Args:
        model: takes users int64 ``(batch,)``, their items ``(batch,)`` and, for BPR, as many items
            that they do not have, drawn uniformly; of the softmax, none.
        histories: one sequence per user.
        options: of the training; a batch is so many interactions.
        validate: metrics of the model as it is.
        loss: whether other items are drawn.
        label: shown with the progress.
    """
    n_items = model.n_items
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    items = histories.items.astype(np.int64)
    pairs = np.unique(users * n_items + items)  # sorted

    def collate(rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        drawn = torch.randint(n_items, (len(rows) if loss == "bpr" else 0,)).numpy()
        for _ in range(_ROUNDS if loss == "bpr" else 0):
            keys = users[rows] * n_items + drawn
            place = np.searchsorted(pairs, keys).clip(max=len(pairs) - 1)
            taken = pairs[place] == keys
            if not taken.any():
                break
            drawn[taken] = torch.randint(n_items, (int(taken.sum()),)).numpy()
        return tuple(torch.from_numpy(part) for part in (users[rows], items[rows], drawn))

    lengths = np.ones(len(items), dtype=np.int64)
    return train(
        model,
        batches=lambda epoch: batches_by_length(lengths, options, epoch),
        collate=collate,
        options=options,
        validate=validate,
        label=label,
    )


def bpr_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """How much a user's item should stand above items that he does not have (BPR-Opt).

    Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI'09, eq. for
    BPR-Opt, without the prior.

    Args:
        positive: float ``(n,)`` scores of the users' items.
        negative: float ``(n,)`` scores of other items.

    Returns:
        Scalar, in nats: the mean of ``-log sigmoid(positive - negative)``.

    >>> round(float(bpr_loss(torch.tensor([1.0, 1.0]), torch.tensor([1.0, -1.0]))), 4)
    0.41
    """
    return -F.logsigmoid(positive - negative).mean()


def mean_items(items: Tensor, histories: Tensor) -> Tensor:
    """The mean vector of each history's items.

    Args:
        items: float ``(n_items, dim)``.
        histories: int64 ``(n, longest)`` item rows, -1 after the end.

    Returns:
        float ``(n, dim)``; 0 for an empty history.
    """
    known = (histories >= 0)[:, :, None]  # (n, longest, 1)
    total = (items[histories.clamp(min=0)] * known).sum(1)  # (n, dim)
    return total / known.sum(1).clamp(min=1)


def fold_in(users: Tensor, items: Tensor, histories: Histories) -> Tensor:
    """The affine map from the mean vector of a history's items to its user's factors.

    The ridge regression that fits the training users best: by it a user whom training has not seen
    gets factors on the scale of theirs.

    Args:
        users: float32 ``(n_users, dim)``.
        items: float32 ``(n_items, dim)``.
        histories: of training, one per user; empty ones are left out.

    Returns:
        float32 ``(dim + 1, dim)``; the last row is the offset.
    """
    there = np.flatnonzero(histories.lengths)
    taken = histories.take(there)
    rows = torch.from_numpy(taken.items).long().to(items.device)
    starts = torch.from_numpy(taken.offsets[:-1]).to(items.device)
    mean = F.embedding_bag(rows, items, starts, mode="mean")  # (n, dim)
    read = torch.cat([mean, mean.new_ones(len(mean), 1)], 1).double()  # (n, dim + 1)
    gram = read.T @ read
    ridge = _RIDGE * gram.diagonal()[:-1].mean()
    penalty = torch.full_like(gram.diagonal(), float(ridge)).clamp(min=1e-12)
    penalty[-1] = 1e-9  # the offset is free
    wanted = users[torch.from_numpy(there).to(users.device)].double()
    solved: Tensor = torch.linalg.solve(gram + penalty.diag(), read.T @ wanted)
    return solved.float()


def user_factors(
    table: Tensor, items: Tensor, fold: Tensor, histories: Tensor, users: Tensor | None
) -> Tensor:
    """The factors of users: their own where they are known, else folded in from the history.

    Args:
        table: float ``(n_users, dim)``.
        items: float ``(n_items, dim)``.
        fold: float ``(dim + 1, dim)``, from `fold_in`.
        histories: int64 ``(n, longest)`` item rows, -1 after the end.
        users: int64 ``(n,)`` rows of the table, -1 for nobody known; None: nobody is.

    Returns:
        float ``(n, dim)``.
    """
    folded = mean_items(items, histories) @ fold[:-1] + fold[-1]
    if users is None:
        return folded
    return torch.where((users >= 0)[:, None], table[users.clamp(min=0)], folded)
