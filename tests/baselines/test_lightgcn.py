"""LightGCN keeps to the seam."""

from __future__ import annotations

from typing import Any, ClassVar

from contract_baseline import BaselineContract
from letterrec.baselines import Baseline
from letterrec.baselines.lightgcn import LightGcn


class TestLightGcn(BaselineContract):
    follows_order = False
    settings: ClassVar[dict[str, Any]] = {}

    def baseline(self, n_users: int, n_items: int) -> Baseline:
        return LightGcn(
            n_users=n_users, n_items=n_items, known_users=True, dim=8, layers=2, **self.settings
        )


class TestSoftmax(TestLightGcn):
    settings: ClassVar[dict[str, Any]] = {"loss": "softmax"}
