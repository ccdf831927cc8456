import pytest
import torch

from letterrec.tokenizers.quantizer import ResidualQuantizer


def quantizer_of(*codebooks: list[list[float]], mu: float = 0.25) -> ResidualQuantizer:
    books = torch.tensor(codebooks)
    quantizer = ResidualQuantizer(
        levels=books.shape[0], codes=books.shape[1], dim=books.shape[2], mu=mu
    )
    quantizer.codebooks.data = books
    return quantizer


def test_codes_and_sum_by_hand():
    quantizer = quantizer_of([[0.0, 0.0], [4.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]])
    quantized, codes, loss = quantizer(torch.tensor([[4.0, 0.9], [0.8, 0.0]]))
    assert codes.tolist() == [[1, 1], [0, 0]]
    assert torch.allclose(quantized, torch.tensor([[4.0, 1.0], [1.0, 0.0]]))
    # level 1: (0.81 + 0.64) / 4, level 2: (0.01 + 0.04) / 4, both times 1 + mu
    assert loss.item() == pytest.approx((1.45 + 0.05) / 4 * 1.25, rel=1e-5)


def test_it_agrees_with_a_plain_loop():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(levels=3, codes=16, dim=5, mu=0.5)
    latents = torch.randn(40, 5)
    quantized, codes, loss = quantizer(latents)
    expected_loss = 0.0
    for z, z_hat, chosen in zip(latents, quantized, codes, strict=True):
        residual, total = z.clone(), torch.zeros(5)
        for book, code in zip(quantizer.codebooks.detach(), chosen, strict=True):
            distances = [float((residual - e).square().sum()) for e in book]
            assert int(code) == min(range(16), key=distances.__getitem__)
            expected_loss += 1.5 * min(distances) / (40 * 5)
            residual, total = residual - book[code], total + book[code]
        assert torch.allclose(z_hat, total, atol=1e-5)
    assert loss.item() == pytest.approx(expected_loss, rel=1e-4)


def test_the_gradient_passes_straight_through():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(levels=2, codes=4, dim=3)
    latents = torch.randn(5, 3, requires_grad=True)
    quantized, _, _ = quantizer(latents)
    weights = torch.randn(5, 3)
    (quantized * weights).sum().backward()
    assert latents.grad is not None
    assert torch.allclose(latents.grad, weights)
    assert quantizer.codebooks.grad is None


def test_the_loss_trains_the_codes_of_every_level():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(levels=3, codes=4, dim=3)
    quantizer(torch.randn(50, 3))[2].backward()
    assert quantizer.codebooks.grad is not None
    assert (quantizer.codebooks.grad.abs().sum((1, 2)) > 0).all()


def test_the_commitment_of_the_first_level_alone_moves_the_latents():
    def gradient(levels: int, commitment: str) -> torch.Tensor:
        torch.manual_seed(0)
        quantizer = ResidualQuantizer(levels=3, codes=4, dim=3, commitment=commitment)
        quantizer.codebooks.data = quantizer.codebooks.data[:levels]
        latents = torch.randn(50, 3, requires_grad=True)
        quantizer(latents)[2].backward()
        assert quantizer.codebooks.grad is not None
        assert (quantizer.codebooks.grad.abs().sum((1, 2)) > 0).all()  # all codes learn
        assert latents.grad is not None
        return latents.grad

    assert torch.equal(gradient(3, "first"), gradient(1, "all"))
    assert not torch.allclose(gradient(3, "all"), gradient(1, "all"))


def test_initialisation_uses_every_code_of_every_level():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(levels=3, codes=32, dim=4)
    latents = torch.randn(2000, 4)
    quantizer.initialise(latents)
    _, codes, _ = quantizer(latents)
    assert [len(level.unique()) for level in codes.T] == [32, 32, 32]
    assert quantizer(latents)[0].sub(latents).square().mean() < 0.02


def test_dead_codes_are_revived():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(levels=2, codes=16, dim=4)
    latents = torch.randn(500, 4)
    quantizer.initialise(latents)
    quantizer.codebooks.data[:, 8:] = 1000.0
    assert quantizer.revive(latents) == 16
    _, codes, _ = quantizer(latents)
    assert all(len(level.unique()) >= 15 for level in codes.T)
    assert quantizer.revive(latents) <= 2


def test_with_few_items_most_dead_codes_stay():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(levels=1, codes=64, dim=4)
    assert quantizer.revive(torch.randn(6, 4)) <= 3


def test_latents_of_another_dimension_are_refused():
    quantizer = ResidualQuantizer(levels=1, codes=2, dim=4)
    with pytest.raises(ValueError, match=r"shape \(3, 5\); expected \(n, 4\)"):
        quantizer(torch.zeros(3, 5))
