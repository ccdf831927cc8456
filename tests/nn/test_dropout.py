from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from letterrec.nn.dropout import Dropout, attention


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_keeps_the_asked_share_and_the_mean(p: float) -> None:
    dropout = Dropout(p)
    x = torch.ones(101, 999, requires_grad=True)
    torch.manual_seed(0)
    out = dropout(x)
    torch.autograd.backward(out.sum())
    share = float((out > 0).float().mean())
    assert share == pytest.approx(1 - p, abs=0.01)
    torch.testing.assert_close(out[out > 0].unique(), torch.tensor([1 / (1 - p)]))
    torch.testing.assert_close(x.grad, out)  # the same mask on the way back
    columns = (out > 0).float().mean(0)  # no place is favoured
    assert float(columns.std()) == pytest.approx((p * (1 - p) / 101) ** 0.5, rel=0.1)
    assert not torch.equal(dropout(x), out)
    torch.manual_seed(0)
    assert torch.equal(dropout(x), out)
    assert dropout.eval()(x) is x


def test_dropout_after_relu_is_relu_then_dropout_on_both_ways() -> None:
    dropout = Dropout(0.3)
    start = torch.randn(64, 50)
    torch.manual_seed(1)
    plain = start.clone().requires_grad_()
    expected = dropout(F.relu(plain))
    torch.autograd.backward(expected.square().sum())
    torch.manual_seed(1)
    leaf = start.clone().requires_grad_()
    out = dropout.after_relu(leaf * 1)
    torch.autograd.backward(out.square().sum())
    torch.testing.assert_close(out, expected)
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, plain.grad)
    torch.testing.assert_close(dropout.eval().after_relu(start.clone()), F.relu(start))


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("scale", [None, 1.0])
def test_attention_is_that_of_pytorch_but_for_what_is_dropped(
    is_causal: bool, scale: float | None
) -> None:
    torch.manual_seed(0)
    queries, keys, values = (torch.randn(2, 3, 5, 4) for _ in range(3))
    expected = F.scaled_dot_product_attention(
        queries, keys, values, is_causal=is_causal, scale=scale
    )
    for dropout in (Dropout(0.5).eval(), Dropout(0.0), Dropout(1e-5)):
        found = attention(queries, keys, values, dropout, is_causal=is_causal, scale=scale)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    half = Dropout(0.5)
    draws = [
        attention(queries, keys, values, half, is_causal=is_causal, scale=scale)
        for _ in range(3000)
    ]
    torch.testing.assert_close(torch.stack(draws).mean(0), expected, rtol=0, atol=0.12)
    assert not torch.equal(draws[0], draws[1])
