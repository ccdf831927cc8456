"""Preference optimisation: a trained recommender learns from what its own beams get wrong.

After histories of training, what was chosen next is preferred to the other items that the
recommender finds likely. Its probabilities are compared with those that it gave before all this,
so that it does not drift away from what it has learned (`losses.preference_loss`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from letterrec.data.sequences import Histories
from letterrec.recommenders.losses import preference_loss
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.devices import device
from letterrec.training.loop import random_batches, train
from letterrec.training.options import TrainingOptions
from letterrec.training.rehearsal import some
from letterrec.training.steps import Rows

_AT_ONCE = 256  # cases whose probabilities are computed at a time before training

LogProbs = Callable[[Tensor, Tensor], Tensor]


class Preferences(NamedTuple):
    """What is preferred to what.

    Attributes:
        histories: ``n`` of at least one item each, with behaviours where there are several.
        chosen: int64 ``(n,)`` rows of the items that came next.
        rejected: int64 ``(n, m)`` rows of likely items that did not, -1 padded.
        beta: of `losses.preference_loss`.
        likelihood: weight of the chosen items' own log-probability in the loss. Without any, they
            may become less likely as long as the rejected ones do so faster.
    """

    histories: Histories
    chosen: NDArray[np.int64]
    rejected: NDArray[np.int64]
    beta: float = 0.1
    likelihood: float = 1.0


class PreferenceTraining(nn.Module):
    """A recommender, as `training.loop.train` trains it on preferences.

    Args:
        recommender: trained; its weights change.
        log_probs: histories int64 ``(n, longest)``, item rows or events, left-aligned, -1 padded,
            and items int64 ``(n, m)`` -> the log-probabilities with which the recommender ranks the
            items, float32 ``(n, m)``.
        beta: of `Preferences`, as is ``likelihood``.
        likelihood: weight of the chosen items' log-probability.
    """

    def __init__(
        self, recommender: nn.Module, log_probs: LogProbs, beta: float, likelihood: float
    ) -> None:
        super().__init__()
        self.recommender = recommender
        self._log_probs, self._beta, self._likelihood = log_probs, beta, likelihood

    def forward(self, histories: Tensor, items: Tensor, reference: Tensor) -> dict[str, Tensor]:
        """The loss of a batch.

        Args:
            histories: int64 ``(n, longest)``, as of ``log_probs``.
            items: int64 ``(n, 1 + m)``: the chosen one first; -1 where fewer were rejected.
            reference: float32 ``(n, 1 + m)``: the log-probabilities before this training.

        Returns:
            ``preference``: the preference loss; ``likelihood``: the mean negative log-probability
            of the chosen items; ``loss``: both, weighted.
        """
        found = self._log_probs(histories, items.clamp_min(0))
        gained = (found - reference).masked_fill(items < 0, -torch.inf)
        preference = preference_loss(gained[:, 0], gained[:, 1:], self._beta)
        likelihood = -found[:, 0].mean()
        loss = preference + self._likelihood * likelihood
        return {"loss": loss, "preference": preference, "likelihood": likelihood}


def fit_preferences(
    recommender: nn.Module,
    log_probs: LogProbs,
    preferences: Preferences,
    options: TrainingOptions,
    *,
    max_history: int,
    n_behaviours: int,
    validate: Callable[[], Mapping[str, float]] | None,
) -> TrainingLog:
    """Train a recommender on preferences; see `training.loop.train`.

    Args:
        recommender: as of `PreferenceTraining`, as is ``log_probs``. Its weights at the start are
            the reference.
        log_probs: of items after histories.
        preferences: to learn.
        options: of the training.
        max_history: latest items of a history that are read.
        n_behaviours: kinds of interactions that are told apart.
        validate: metrics of the recommender as it is.
    """
    events = preferences.histories.events(n_behaviours)
    items = torch.from_numpy(np.column_stack([preferences.chosen, preferences.rejected]))
    recommender.to(device()).eval()

    def padded(rows: Rows) -> Tensor:
        return torch.from_numpy(events.take(rows).padded(max_history))

    @torch.no_grad()
    def before(rows: Rows) -> Tensor:
        on = device()
        return log_probs(padded(rows).to(on), items[rows].clamp_min(0).to(on)).cpu()

    parts = np.array_split(np.arange(len(items)), max(1, -(-len(items) // _AT_ONCE)))
    reference = torch.zeros(items.shape)
    for rows in some(parts):
        reference[rows] = before(rows)
    options = options.sized(len(items))
    return train(
        PreferenceTraining(recommender, log_probs, preferences.beta, preferences.likelihood),
        batches=lambda epoch: random_batches(len(items), options, epoch),
        collate=lambda rows: (padded(rows), items[rows], reference[rows]),
        options=options,
        validate=validate,
        label="preferences",
    )
