"""Popularity keeps to the seam, and counts."""

from __future__ import annotations

import torch

from contract_baseline import BaselineContract
from letterrec.baselines import Baseline
from letterrec.baselines.popularity import Popularity
from letterrec.data.sequences import Histories
from letterrec.training.options import TrainingOptions


class TestPopularity(BaselineContract):
    follows_order = finds_taste = is_trained = False

    def baseline(self, n_users: int, n_items: int) -> Baseline:
        return Popularity(n_users=n_users, n_items=n_items)


def test_scores_are_counts() -> None:
    model = Popularity(n_users=2, n_items=4)
    model.fit(Histories.from_lists([[2, 0, 2], [2, 1]]), TrainingOptions())
    assert model.scores(torch.tensor([[3]])).tolist() == [[1.0, 1.0, 3.0, 0.0]]
