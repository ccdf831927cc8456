"""EASE and SLIST: item-to-item weights in closed form, summed over a history.

The weights are those of `linear.item_item`, which has the sources.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from letterrec.baselines.base import Baseline
from letterrec.data.sequences import Histories
from letterrec.linear.item_item import fit_ease, fit_slist
from letterrec.linear.ridge import KEPT
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.devices import device
from letterrec.training.options import TrainingOptions


class LinearBaseline(Baseline):
    """Scores an item by the weights of the history's items for it, in sum; see `Baseline`.

    Args:
        n_users: not used: a user is a history.
        n_items: items in the catalogue.
        max_history: latest items of a history that are read.
        decay: how much an item of the history counts, relative to the item after it.
    """

    others: Tensor  # int64 (n_items, kept): the items that an item predicts most
    weights: Tensor  # float32 (n_items, kept): how much; 0 where there are fewer

    def __init__(self, *, n_users: int, n_items: int, max_history: int, decay: float) -> None:
        super().__init__(n_users=n_users, n_items=n_items, max_history=max_history)
        self.decay = decay
        kept = min(KEPT, n_items)
        self.register_buffer("others", torch.zeros(n_items, kept, dtype=torch.int64))
        self.register_buffer("weights", torch.zeros(n_items, kept))

    @abstractmethod
    def solve(self, histories: Histories) -> sp.csr_array:
        """The weights float32 ``(n_items, n_items)``, from the item of the row to the column's."""

    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Solve for the weights."""
        found = self.solve(histories)
        row = np.repeat(np.arange(self.n_items), np.diff(found.indptr))
        place = np.arange(len(row)) - found.indptr[row]
        for buffer, values in ((self.others, found.indices), (self.weights, found.data)):
            packed = np.zeros(buffer.shape, dtype=values.dtype)
            packed[row, place] = values
            buffer.copy_(torch.from_numpy(packed))
        self.to(device())
        return TrainingLog()

    def scores(self, histories: Tensor, users: Tensor | None = None) -> Tensor:
        """float32 ``(n, n_items)``; see `Baseline.scores`."""
        scores = self.weights.new_zeros(len(histories), self.n_items)
        latest = (histories >= 0).sum(1) - 1  # (n,)
        for place, items in enumerate(histories.T):  # one place of all histories at a time
            counts = self.decay ** (latest - place).float() * (items >= 0)  # (n,)
            rows = items.clamp(min=0)
            scores.scatter_add_(1, self.others[rows], self.weights[rows] * counts[:, None])
        return scores


class Ease(LinearBaseline):
    """EASE (WWW'19): the order of a history does not count.

    Args:
        n_users: not used: a user is a history.
        n_items: items in the catalogue.
        max_history: latest items of a history that are read.
        ridge: weight of the squared weights, in histories.
    """

    def __init__(
        self, *, n_users: int, n_items: int, max_history: int = 20, ridge: float = 500.0
    ) -> None:
        super().__init__(n_users=n_users, n_items=n_items, max_history=max_history, decay=1.0)
        self.ridge = ridge

    def solve(self, histories: Histories) -> sp.csr_array:
        """Each item of a history predicted from the others."""
        return fit_ease(histories, self.n_items, ridge=self.ridge)


class Slist(LinearBaseline):
    """SLIST (WWW'21): what comes later, predicted from what came before.

    Args:
        n_users: not used: a user is a history.
        n_items: items in the catalogue.
        max_history: latest items of a history that are read.
        ridge: weight of the squared weights.
        decay: how much an item that came before counts, relative to the item after it.
        ahead: how much an item that comes later counts, relative to the item before it.
    """

    def __init__(
        self,
        *,
        n_users: int,
        n_items: int,
        max_history: int = 20,
        ridge: float = 150.0,
        decay: float = 0.85,
        ahead: float = 0.5,
    ) -> None:
        super().__init__(n_users=n_users, n_items=n_items, max_history=max_history, decay=decay)
        self.ridge, self.ahead = ridge, ahead

    def solve(self, histories: Histories) -> sp.csr_array:
        """What comes later in a history, predicted from what came before."""
        return fit_slist(
            histories, self.n_items, ridge=self.ridge, decay=self.decay, ahead=self.ahead
        )
