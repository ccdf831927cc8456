"""MF keeps to the seam."""

from __future__ import annotations

from contract_baseline import BaselineContract
from letterrec.baselines import Baseline
from letterrec.baselines.mf import MatrixFactorization


class TestMatrixFactorization(BaselineContract):
    follows_order = False

    def baseline(self, n_users: int, n_items: int) -> Baseline:
        return MatrixFactorization(n_users=n_users, n_items=n_items, dim=8, penalty=2e-2)
