"""MF keeps to the seam."""

from __future__ import annotations

from typing import Any, ClassVar

from contract_baseline import BaselineContract
from letterrec.baselines import Baseline
from letterrec.baselines.mf import MatrixFactorization


class TestMatrixFactorization(BaselineContract):
    follows_order = False
    settings: ClassVar[dict[str, Any]] = {"penalty": 0.02}

    def baseline(self, n_users: int, n_items: int) -> Baseline:
        return MatrixFactorization(
            n_users=n_users, n_items=n_items, known_users=True, dim=8, **self.settings
        )


class TestSoftmax(TestMatrixFactorization):
    settings: ClassVar[dict[str, Any]] = {"loss": "softmax", "penalty": 0.02}
