"""How rqt is trained on sequences: in batches that pad little; and whether items come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from letterrec.data.sequences import Histories
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.loop import random_batches, train
from letterrec.training.options import TrainingOptions
from letterrec.training.steps import Rows

_STEPS_PER_EPOCH = 40  # at least: a small data set is passed several times in an epoch
_GROUPS = 4  # of similar length, in a batch
_FEW_REPEATS = 0.01  # share of interactions with an item of the own history that is called none


def fit_windows(
    module: nn.Module,
    windows: Histories,
    options: TrainingOptions,
    *,
    validate: Callable[[], Mapping[str, float]] | None,
    label: str,
) -> TrainingLog:
    """Train a module on sequences in batches as of `collate`; see `training.loop.train`.

    Args:
        module: the recommender, or what learns beside it.
        windows: the sequences.
        options: of the training.
        validate: metrics of the recommender as it is.
        label: of the progress.
    """
    options = options.sized(len(windows))
    return train(
        module,
        batches=lambda epoch: random_batches(
            len(windows), options, epoch, at_least=_STEPS_PER_EPOCH
        ),
        collate=lambda rows: collate(windows, rows),
        options=options,
        validate=validate,
        label=label,
    )


def collate(windows: Histories, rows: Rows) -> tuple[Tensor, ...]:
    """A batch as groups of similar length, which pad little."""
    by_length = rows[np.argsort(windows.lengths[rows], kind="stable")]
    groups = np.array_split(by_length, min(_GROUPS, len(rows)))
    return tuple(torch.from_numpy(windows.take(group).padded()) for group in groups)


def are_taken_once(histories: Histories) -> bool:
    """Whether hardly anyone comes back to an item."""
    return _share_of_repeats(histories) < _FEW_REPEATS


def _share_of_repeats(histories: Histories) -> float:
    """The share of interactions with an item that the same sequence had before.

    >>> _share_of_repeats(Histories.from_lists([[1, 2, 1, 3], [1, 2, 3, 4]]))
    0.125
    """
    sequence = np.repeat(np.arange(len(histories)), histories.lengths)
    pairs = sequence * (histories.items.max(initial=0) + 1) + histories.items
    return 1 - len(np.unique(pairs)) / max(1, len(pairs))
