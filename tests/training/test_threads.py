from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from letterrec.nn.dropout import Dropout
from letterrec.training.threads import Team

ROWS = np.arange(200)


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


class Regression(nn.Module):
    """A small network, and one parameter that nothing reads."""

    def __init__(self, p: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.GELU(), Dropout(p), nn.Linear(16, 1))
        self.unread = nn.Parameter(torch.ones(2))
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.sizes.append(len(x))
        with torch.autocast("cpu", enabled=False):
            squares = (self.layers(x)[:, 0] - x.sum(1)).square()
        return {"loss": squares.mean(), "largest": squares.detach().amax()}


def gradients(module: nn.Module) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()]


def collate(rows: np.ndarray) -> tuple[Tensor, ...]:
    return (torch.from_numpy(np.random.default_rng(0).standard_normal((200, 4))).float()[rows],)


def step(module: Regression, rows: np.ndarray, per_batch: int) -> dict[str, Tensor]:
    module.zero_grad()
    with Team(per_batch) as team:
        return team.backward(module, collate, rows, 0.5)


def test_members_take_shares_and_add_up_to_one_step() -> None:
    alone, shared = Regression(0), Regression(0)
    expected = step(alone, ROWS, per_batch=0)
    found = step(shared, ROWS, per_batch=len(ROWS))
    assert alone.sizes == [200]
    assert sorted(shared.sizes) == [66, 67, 67]
    torch.testing.assert_close(found["loss"], expected["loss"])
    torch.testing.assert_close(gradients(shared), gradients(alone))
    assert torch.get_num_threads() == 3


def test_small_batches_are_not_shared() -> None:
    module = Regression(0)
    step(module, ROWS[:127], per_batch=len(ROWS))
    assert module.sizes == [127]


def test_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    runs = []
    for _ in range(4):
        module = Regression(0.5)
        torch.manual_seed(7)
        runs.append((step(module, ROWS, len(ROWS)), gradients(module)))
    for parts, found in runs[1:]:
        assert parts["loss"] == runs[0][0]["loss"]
        assert all(torch.equal(a, b) for a, b in zip(found, runs[0][1], strict=True))
    module = Regression(0.5)
    torch.manual_seed(8)
    assert step(module, ROWS, len(ROWS))["loss"] != runs[0][0]["loss"]


def test_an_error_of_a_member_reaches_the_caller() -> None:
    def broken(rows: np.ndarray) -> tuple[Tensor, ...]:
        raise ValueError(f"row {rows[0]}")

    with (
        Team(len(ROWS)) as team,
        pytest.raises(ValueError, match="row 0"),
    ):
        team.backward(Regression(0), broken, ROWS, 1.0)
    assert torch.get_num_threads() == 3
