"""BERT4Rec keeps to the seam."""

from __future__ import annotations

from contract_baseline import BaselineContract
from letterrec.baselines import Baseline
from letterrec.baselines.bert4rec import Bert4Rec
from letterrec.training.options import TrainingOptions


class TestBert4Rec(BaselineContract):
    finds_taste = False

    def options(self) -> TrainingOptions:
        return TrainingOptions(epochs=30, batch_size=16, learning_rate=5e-3)

    def baseline(self, n_users: int, n_items: int) -> Baseline:
        return Bert4Rec(
            n_users=n_users, n_items=n_items, max_history=8, dim=16, layers=1, dropout=0.0, last=0.5
        )
