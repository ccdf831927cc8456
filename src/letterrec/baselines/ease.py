"""EASE: how much each item of a history speaks for each other item, in closed form.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW'19).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from letterrec.baselines.base import Baseline
from letterrec.data.sequences import Histories
from letterrec.errors import SettingsError
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.devices import device
from letterrec.training.options import TrainingOptions

_MOST_ITEMS = 40_000
_KEPT = 200  # weights of an item, the largest ones


class Ease(Baseline):
    """Scores an item by the weights of the history's items for it, in sum; see `Baseline`.

    The order of a history does not count, nor whose it is.

    Args:
        n_users: not used: a user is a history.
        n_items: items in the catalogue.
        max_history: latest items of a history that are read.
        penalty: lambda, weight of the squared weights.
    """

    others: Tensor  # int64 (n_items, kept): the items that an item speaks for most
    weights: Tensor  # float32 (n_items, kept): how much

    def __init__(
        self, *, n_users: int, n_items: int, max_history: int = 20, penalty: float = 500.0
    ) -> None:
        super().__init__(n_users=n_users, n_items=n_items, max_history=max_history)
        self.penalty = penalty
        kept = min(_KEPT, n_items)
        self.register_buffer("others", torch.zeros(n_items, kept, dtype=torch.int64))
        self.register_buffer("weights", torch.zeros(n_items, kept))

    @classmethod
    def check(cls, n_items: int) -> None:
        """Refuse a catalogue whose square does not fit the memory of most machines.

        Raises:
            SettingsError: there are more than 40,000 items.
        """
        if n_items > _MOST_ITEMS:
            raise SettingsError(
                f"ease inverts a matrix of all pairs of items, for {n_items} items "
                f"{8 * n_items**2 / 2**30:.0f} GiB; expected at most {_MOST_ITEMS} items: raise "
                "data.k_core, or choose another recipe"
            )

    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Solve for the weights; the largest ones of each item are kept."""
        found = item_weights(histories, self.n_items, self.penalty)
        kept = found.abs().topk(self.others.shape[1], dim=1).indices
        self.others, self.weights = kept, found.gather(1, kept)
        self.to(device())
        return TrainingLog()

    def scores(self, histories: Tensor, users: Tensor | None = None) -> Tensor:
        """float32 ``(n, n_items)``; see `Baseline.scores`."""
        scores = self.weights.new_zeros(len(histories), self.n_items)
        for items in histories.T:  # one place of all histories at a time
            known = (items >= 0)[:, None]
            rows = items.clamp(min=0)
            scores.scatter_add_(1, self.others[rows], self.weights[rows] * known)
        return scores


def item_weights(histories: Histories, n_items: int, penalty: float) -> Tensor:
    """The weights that predict each item of a history from the others, none from itself (eq. 8).

    Args:
        histories: of training; an item that comes twice counts once.
        n_items: in the catalogue.
        penalty: lambda.

    Returns:
        float32 ``(n_items, n_items)``: the row is the item of the history, the column the item that
        it speaks for. The diagonal is 0.

    >>> histories = Histories.from_lists([[0, 1], [1, 0], [2]])
    >>> item_weights(histories, 3, 2.0).round(decimals=3).abs().tolist()  # 2 / (2 + 2)
    [[0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    ones = np.ones(len(users), dtype=np.float32)
    had = sp.csr_array((ones, (users, histories.items)), shape=(len(histories), n_items))
    had.data[:] = 1
    gram = torch.from_numpy((had.T @ had).toarray())
    gram.diagonal().add_(penalty)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram, out=gram), out=gram)
    weights = inverse.div_(-inverse.diagonal().clone())
    weights.fill_diagonal_(0.0)
    return weights
