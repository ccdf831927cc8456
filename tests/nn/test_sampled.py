"""The sampled softmax estimates the full one, and touches the items of a batch alone."""

from __future__ import annotations

import pytest
import torch

from accelerator import DEVICE, accelerator
from letterrec.nn import sampled
from letterrec.nn.sampled import draw_negatives, sampled_loss
from letterrec.nn.sasrec import SASRec, full_loss

N_ITEMS, DIM = 300, 8


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_it_estimates_the_full_loss_and_its_gradient() -> None:
    popularity = torch.randint(1, 50, (N_ITEMS,)).float()
    targets = torch.multinomial(popularity, 4000, replacement=True)
    states = torch.randn(4000, DIM, requires_grad=True)
    table = (torch.randn(N_ITEMS, DIM) * 0.5).requires_grad_()
    expected = full_loss(states, table, targets)
    (gradient,) = torch.autograd.grad(expected, table)
    draws = [
        sampled_loss(states, targets, popularity, lambda rows: table[rows], 600) for _ in range(40)
    ]
    assert float(torch.stack(draws).detach().mean()) == pytest.approx(
        float(expected.detach()), rel=0.01
    )
    found = torch.stack([torch.autograd.grad(loss, table)[0] for loss in draws]).mean(0)
    assert torch.cosine_similarity(found.flatten(), gradient.flatten(), 0) > 0.95


def test_its_gradients_are_those_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled, "_CHUNK_LOGITS", 1)  # 16 rows at a time
    targets = torch.randint(0, 20, (50,))
    states = torch.randn(50, DIM, requires_grad=True)
    table = torch.randn(20, DIM, requires_grad=True)
    popularity = torch.ones(20)
    torch.manual_seed(1)
    negatives = draw_negatives(targets, popularity, 12)
    logits = states @ table[negatives.items].T - negatives.correction
    logits = logits.masked_fill(negatives.items == targets[:, None], -torch.inf)
    right = (states * table[targets]).sum(1, keepdim=True)
    plain = (torch.cat([right, logits], 1).logsumexp(1) - right[:, 0]).mean()
    torch.manual_seed(1)
    loss = sampled_loss(states, targets, popularity, lambda rows: table[rows], 12)
    torch.testing.assert_close(loss, plain)
    for found, wanted in zip(
        torch.autograd.grad(loss, (states, table)),
        torch.autograd.grad(plain, (states, table)),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted)


def test_negatives_come_from_the_batch_and_from_anywhere() -> None:
    popularity = torch.ones(N_ITEMS)
    popularity[7] = N_ITEMS  # half of all targets, and one of 300 items
    drawn = draw_negatives(torch.full((10,), 7), popularity, 4000)
    assert len(drawn.items) > 0.9 * N_ITEMS
    place = int((drawn.items == 7).nonzero())
    expected = 2000 * N_ITEMS / (2 * N_ITEMS - 1) + 2000 / N_ITEMS
    counted = expected / float(drawn.correction[place].exp())
    assert counted == pytest.approx(2000, rel=0.05)  # all draws of the batch, and some beside


def test_a_large_catalogue_gets_gradients_of_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("letterrec.nn.sasrec.FULL_SOFTMAX_ITEMS", 10_000)
    monkeypatch.setattr(sampled, "_SAMPLES", 64)
    model = SASRec(n_items=10_001, dim=8, max_history=3)
    batch = torch.tensor([[5, 9, 7, -1], [9, 3, -1, -1]])
    model(batch[:, :-1], batch[:, 1:])["loss"].backward()
    gradient = model.items.weight.grad
    assert gradient is not None
    assert gradient.is_sparse
    touched = set(gradient.coalesce().indices()[0].tolist())
    assert {3, 5, 7, 9} <= touched
    assert len(touched) < 1100


def test_no_target_is_no_loss() -> None:
    states = torch.zeros(0, DIM, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    loss = sampled_loss(states, none, torch.ones(3), lambda rows: torch.zeros(len(rows), DIM))
    assert float(loss.detach()) == 0


def test_it_stays_on_the_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    states, table = torch.randn(50, DIM), torch.randn(N_ITEMS, DIM)
    targets, popularity = torch.randint(0, N_ITEMS, (50,)), torch.ones(N_ITEMS)
    torch.manual_seed(2)
    here = float(sampled_loss(states, targets, popularity, lambda rows: table[rows]))
    with accelerator(monkeypatch):
        there = [t.to(DEVICE) for t in (states, targets, popularity, table)]
        torch.manual_seed(2)
        loss = sampled_loss(*there[:3], lambda rows: there[3][rows])
        assert loss.device == DEVICE
        assert float(loss) == pytest.approx(here)
