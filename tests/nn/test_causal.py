"""The causal block: what it normalizes, and one place as all places give it."""

from __future__ import annotations

import pytest
import torch

from letterrec.nn.causal import CausalBlock


def block(*, norm_first: bool) -> CausalBlock:
    torch.manual_seed(0)
    made = CausalBlock(8, 2, 0.0, norm_first=norm_first).eval()
    with torch.no_grad():
        for norm in (made.norm_attention, made.norm_mlp):
            norm.weight.copy_(torch.rand(8) + 0.5)
    return made


@pytest.mark.parametrize("norm_first", [True, False])
def test_one_place_is_as_all_places_give_it(norm_first: bool) -> None:
    made, states, place = block(norm_first=norm_first), torch.randn(3, 5, 8), [4, 0, 2]
    expected = made(states)[torch.arange(3), place]
    torch.testing.assert_close(made.at(states, torch.tensor(place)), expected, atol=1e-5, rtol=0)


def test_what_is_added_is_normalized_before_or_after() -> None:
    """Without layers, states stay as they are, or are normalized twice."""
    states = torch.randn(2, 4, 8)
    for norm_first in (True, False):
        made = block(norm_first=norm_first)
        with torch.no_grad():
            for layer in (made.output, made.mlp[2]):
                layer.weight.zero_()
                layer.bias.zero_()
        twice = made.norm_mlp(made.norm_attention(states))
        torch.testing.assert_close(made(states), states if norm_first else twice)
