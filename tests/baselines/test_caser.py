"""Caser keeps to the seam."""

from __future__ import annotations

from contract_baseline import BaselineContract
from letterrec.baselines import Baseline
from letterrec.baselines.caser import Caser


class TestCaser(BaselineContract):
    finds_taste = False

    def baseline(self, n_users: int, n_items: int) -> Baseline:
        return Caser(
            n_users=n_users, n_items=n_items, known_users=True, dim=16, window=4, dropout=0.1
        )
