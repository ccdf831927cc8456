from __future__ import annotations

import math

import pytest
import torch

from letterrec.recommenders.losses import preference_loss, ranking_guided_loss


def test_ranking_guided_loss_by_hand() -> None:
    """Eq. 6 with logits log 4, log 1, log 4: at temperature 1/2 they weigh 16, 1 and 16."""
    logits = torch.tensor([[4.0, 1.0, 4.0], [1.0, 1.0, 1.0], [9.0, 9.0, 9.0]]).log()
    targets = torch.tensor([0, 2, -100])
    at_half = (math.log(33 / 16) + math.log(3)) / 2
    assert ranking_guided_loss(logits, targets, 0.5).item() == pytest.approx(at_half, abs=1e-6)
    at_one = (math.log(9 / 4) + math.log(3)) / 2
    assert ranking_guided_loss(logits, targets).item() == pytest.approx(at_one, abs=1e-6)


def test_a_lower_temperature_weighs_hard_negatives_more() -> None:
    """Proposition 1: the gradient's share on the best wrong code grows as tau falls."""
    shares = []
    for temperature in (1.0, 0.7):
        logits = torch.tensor([[1.0, 2.0, 0.0]], requires_grad=True)
        ranking_guided_loss(logits, torch.tensor([0]), temperature).backward()
        gradient = logits.grad
        assert gradient is not None
        shares.append(float(gradient[0, 1] / gradient[0, 1:].sum()))
    assert shares[1] > shares[0]


def test_preference_loss_by_hand() -> None:
    """With one rejected item it is DPO's -log sigmoid of the difference of the log-ratios; with
    several it is theirs together; one that is not there counts for nothing.
    """
    chosen = torch.tensor([1.0, 0.0])
    one = torch.tensor([[-1.0], [2.0]])
    dpo = -(math.log(1 / (1 + math.exp(-0.5 * 2))) + math.log(1 / (1 + math.exp(0.5 * 2)))) / 2
    assert preference_loss(chosen, one, 0.5).item() == pytest.approx(dpo, abs=1e-6)
    nothing = torch.tensor([[-torch.inf], [-torch.inf]])
    assert preference_loss(chosen, torch.cat([one, nothing], 1), 0.5).item() == pytest.approx(dpo)
    equal = preference_loss(torch.zeros(1), torch.zeros(1, 3), 0.1)
    assert equal.item() == pytest.approx(math.log(1 + 3), abs=1e-6)
