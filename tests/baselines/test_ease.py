"""EASE keeps to the seam, and solves what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from contract_baseline import BaselineContract
from letterrec.baselines import Baseline
from letterrec.baselines.ease import Ease, item_weights
from letterrec.data.sequences import Histories
from letterrec.errors import SettingsError
from letterrec.training.options import TrainingOptions


class TestEase(BaselineContract):
    follows_order = is_trained = False

    def baseline(self, n_users: int, n_items: int) -> Baseline:
        return Ease(n_users=n_users, n_items=n_items, penalty=5.0)


def histories() -> Histories:
    random = np.random.default_rng(0)
    return Histories.from_lists([random.permutation(12)[:4] for _ in range(60)])


def test_no_other_weights_predict_better() -> None:
    had = np.zeros((60, 12))
    for user, items in enumerate(histories()):
        had[user, items] = 1
    found = item_weights(histories(), 12, 3.0).double().numpy()
    assert np.diagonal(found).tolist() == [0.0] * 12
    gradient = had.T @ (had @ found - had) + 3.0 * found  # of half the loss
    np.fill_diagonal(gradient, 0)  # which is not free
    assert np.abs(gradient).max() < 1e-4


def test_a_score_is_the_sum_of_the_weights_of_the_history() -> None:
    model = Ease(n_users=60, n_items=12, penalty=3.0)
    model.fit(histories(), TrainingOptions())
    weights = item_weights(histories(), 12, 3.0)
    found = model.scores(torch.tensor([[3, 7, -1]]))
    assert torch.allclose(found[0], weights[3] + weights[7], atol=1e-6)


def test_too_large_a_catalogue_is_refused() -> None:
    with pytest.raises(SettingsError, match="at most 40000 items"):
        Ease.check(60_000)
