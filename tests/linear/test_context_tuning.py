"""How transitions treat behaviours, on data where the answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from behaviours import BUY, N_ITEMS, planted
from letterrec.data import Histories
from letterrec.linear.context_tuning import tune_context

SETTINGS: dict[str, Any] = {"window": 20, "backwards": 0.5, "ridge": 10.0}


def noisy_walks(n_users: int, n_items: int, length: int = 14) -> Histories:
    """A third of the steps lead to the next item of a ring, others anywhere; behaviours at random
    mean nothing.
    """
    random = np.random.default_rng(0)
    is_step = random.random((n_users, length)) < 1 / 3
    steps = np.where(is_step, 1, random.integers(n_items, size=(n_users, length)))
    items = (steps.cumsum(1) % n_items).astype(np.int32).ravel()
    behaviours = random.integers(2, size=items.size).astype(np.int8)
    return Histories(np.arange(0, items.size + 1, length), items, behaviours)


def test_a_context_that_means_the_opposite_counts_nothing() -> None:
    found = tune_context(
        planted(300, length=14), N_ITEMS, None, n_behaviours=2, targets=(BUY,), **SETTINGS
    )
    assert found is not None
    assert found[1] == 0


def test_a_context_that_means_the_same_counts() -> None:
    walks = noisy_walks(300, 150)
    found = tune_context(walks, 150, None, n_behaviours=2, targets=(BUY,), **SETTINGS)
    assert found is not None
    assert found[1] > 0
    assert found[0] < 1  # and what a behaviour says of an item is what the other one says


@pytest.mark.parametrize("n_users", [1, 40])
def test_nothing_is_chosen_by_a_few_cases(n_users: int) -> None:
    walks = noisy_walks(n_users, 50)
    assert tune_context(walks, 50, None, n_behaviours=2, targets=(), **SETTINGS) is None
