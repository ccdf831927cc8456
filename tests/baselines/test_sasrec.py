"""SASRec as a baseline keeps to the seam."""

from __future__ import annotations

from contract_baseline import BaselineContract
from letterrec.baselines import Baseline
from letterrec.baselines.sasrec import SasRecBaseline


class TestSasRec(BaselineContract):
    finds_taste = False

    def baseline(self, n_users: int, n_items: int) -> Baseline:
        return SasRecBaseline(
            n_users=n_users, n_items=n_items, max_history=8, dim=16, layers=1, dropout=0.1
        )
