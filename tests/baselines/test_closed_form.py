"""EASE and SLIST keep to the seam; a score is a sum of weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from contract_baseline import BaselineContract
from letterrec.baselines import Baseline
from letterrec.baselines.closed_form import Ease, LinearBaseline, Slist
from letterrec.data.sequences import Histories
from letterrec.training.options import TrainingOptions


class TestEase(BaselineContract):
    follows_order = is_trained = False

    def baseline(self, n_users: int, n_items: int) -> Baseline:
        return Ease(n_users=n_users, n_items=n_items, ridge=5.0)


class TestSlist(BaselineContract):
    is_trained = False

    def baseline(self, n_users: int, n_items: int) -> Baseline:
        return Slist(n_users=n_users, n_items=n_items, ridge=5.0, decay=0.5)


@pytest.mark.parametrize(
    ("model", "earlier"),
    [
        (Ease(n_users=60, n_items=12, ridge=3.0), 1.0),
        (Slist(n_users=60, n_items=12, ridge=3.0, decay=0.5), 0.5),
    ],
)
def test_a_score_is_the_sum_of_what_the_history_says(model: LinearBaseline, earlier: float) -> None:
    random = np.random.default_rng(0)
    histories = Histories.from_lists([random.permutation(12)[:4] for _ in range(60)])
    model.fit(histories, TrainingOptions())
    weights = torch.from_numpy(model.solve(histories).toarray())
    found = model.scores(torch.tensor([[3, 7, -1]]))
    assert torch.allclose(found[0], earlier * weights[3] + weights[7], atol=1e-6)
