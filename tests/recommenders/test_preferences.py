"""Preferences on planted data: of two items that follow, the one that is preferred wins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from contract_recommender import N_ITEMS, planted_identifiers
from letterrec.data.sequences import Histories
from letterrec.errors import SettingsError
from letterrec.recommenders.preferences import Preferences, fit_preferences
from letterrec.recommenders.rqt.model import Rqt
from letterrec.recommenders.tiger.model import Tiger
from letterrec.training import rehearsal
from letterrec.training.options import TrainingOptions
from letterrec.training.rehearsal import rehearsing

OPTIONS = TrainingOptions(epochs=6, batch_size=16, learning_rate=5e-3)


def planted() -> Preferences:
    """After item ``i`` item ``i + 1`` is preferred to ``i + 2``, and in half of the cases to
    ``i + 3`` as well.
    """
    latest = np.arange(4 * N_ITEMS) % N_ITEMS
    third = np.where(np.arange(len(latest)) % 2, (latest + 3) % N_ITEMS, -1)
    return Preferences(
        Histories.from_lists([[i] for i in latest.tolist()]),
        (latest + 1) % N_ITEMS,
        np.stack([(latest + 2) % N_ITEMS, third], 1),
    )


def recommender() -> Rqt:
    torch.manual_seed(0)
    return Rqt(planted_identifiers(), max_history=6, dim=32, heads=2, depth_layers=1, dropout=0.05)


def log_probs(model: Rqt, steps: int) -> torch.Tensor:
    """float32 ``(n_items,)``: of the item so many places behind each."""
    rows = torch.arange(N_ITEMS)[:, None]
    with torch.no_grad():
        return model.eval().item_log_probs(rows, (rows + steps) % N_ITEMS)[:, 0]


@pytest.mark.slow
def test_what_is_preferred_gains_on_what_was_rejected() -> None:
    model = recommender()
    before = log_probs(model, 1) - log_probs(model, 2)
    log = model.fit_preferences(planted(), OPTIONS)
    gained = log_probs(model, 1) - log_probs(model, 2) - before
    assert gained.mean() > 1.0
    assert (gained > 0).float().mean() >= 0.9
    assert log_probs(model, 1).exp().mean() > 0.3  # and is likely itself
    assert log.epochs[-1]["preference"] < log.epochs[0]["preference"]


def test_before_the_first_step_nothing_has_gained() -> None:
    """The loss is that of equal items, log(1 + rejected): the start is the reference."""
    torch.manual_seed(0)
    model = Rqt(planted_identifiers(), max_history=6, dim=32, heads=2, dropout=0.0)
    one = planted()._replace(rejected=planted().rejected[:, :1])
    log = model.fit_preferences(one, TrainingOptions(epochs=1, batch_size=64, learning_rate=1e-9))
    assert log.epochs[0]["preference"] == pytest.approx(np.log(2), abs=1e-4)


def test_a_rehearsal_takes_a_few_parts_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "BUDGET", 0.0)
    model, parts = recommender(), []

    def log_probs(histories: Tensor, items: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            parts.append(len(histories))
        return model.item_log_probs(histories, items)

    one = planted()
    many = Preferences(
        Histories.from_lists([[i % N_ITEMS] for i in range(5120)]),
        np.resize(one.chosen, 5120),
        np.resize(one.rejected, (5120, 2)),
    )
    with rehearsing():
        fit_preferences(
            model, log_probs, many, OPTIONS, max_history=6, n_behaviours=1, validate=None
        )
    assert parts == [256, 256]


def test_a_recommender_that_learns_none_says_so() -> None:
    assert not Tiger.learns_preferences
    with pytest.raises(SettingsError, match="'tiger' does not learn preferences"):
        Tiger(planted_identifiers(), dim=8, layers=1, heads=1, head_dim=8).fit_preferences(
            planted(), OPTIONS
        )
