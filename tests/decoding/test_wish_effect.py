"""What wishes change in a search, computed by hand."""

from __future__ import annotations

import torch

from letterrec.decoding.wish_effect import WishEffect
from letterrec.linear.retrieved import Retrieved


def test_memory_counts_by_what_the_wish_says_of_it() -> None:
    evidence = torch.tensor([[0.0, 2.0, -2.0], [0.0, 0.0, 0.0]])
    effect = WishEffect(evidence, torch.tensor([[0.5], [1.0]]))
    before = Retrieved(
        torch.tensor([[1, 2, -1], [0, 1, -1]]), torch.tensor([[0.3, 0.3, 0.1], [0.2, 0.4, 0.0]])
    )
    masses = 0.5 * 0.3 * torch.tensor([2.0, -2.0]).exp()
    expected = masses / (masses.sum() + 0.4)
    after = effect.weighed(before)
    torch.testing.assert_close(after.shares[0, :2], expected)
    assert after.shares[0, 2] == 0
    torch.testing.assert_close(after.shares[1], before.shares[1])  # no wish, no change


def test_what_is_ruled_out_is_taken_from_what_is_allowed() -> None:
    permitted = torch.tensor([[True, False, True], [True, True, True]])
    effect = WishEffect(torch.zeros(2, 3), torch.ones(2, 1), permitted)
    assert effect.allowed(None, 2).tolist() == [[True, False], [True, True]]  # type: ignore[union-attr]
    allowed = torch.tensor([False, True, True])
    assert effect.allowed(allowed, 3).tolist() == [[False, False, True], [False, True, True]]  # type: ignore[union-attr]
    assert WishEffect(torch.zeros(2, 3), torch.ones(2, 1)).allowed(allowed, 3) is allowed
