"""Hand-computed values of equations 2 to 5, and plain loops as a reference."""

import math

import pytest
import torch

from letterrec.tokenizers.losses import (
    collaborative_loss,
    diversity_loss,
    draw_positives,
    letter_loss,
    quantization_loss,
    reconstruction_loss,
)


def test_reconstruction_by_hand():
    content = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert reconstruction_loss(content, torch.zeros(2, 2)).item() == pytest.approx(5 / 4)


def test_quantization_by_hand_and_who_moves():
    residual = torch.tensor([[1.0, 3.0]], requires_grad=True)
    embedding = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = quantization_loss(residual, embedding, mu=0.25)
    assert loss.item() == pytest.approx((1 + 4) / 2 * 1.25)
    loss.backward()
    assert embedding.grad is not None
    assert residual.grad is not None
    assert embedding.grad.tolist() == [[-1.0, -2.0]]  # 2 (e - r) / 2
    assert residual.grad.tolist() == [[0.25, 0.5]]  # mu times as strong, the other way


def test_collaborative_is_the_cross_entropy_over_the_batch():
    quantized = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    cf = torch.tensor([[0.5, 0.0], [1.0, 1.0], [0.0, -1.0]])
    expected = 0.0
    for i, z in enumerate(quantized):
        scores = [math.exp(float(z @ h)) for h in cf]
        expected -= math.log(scores[i] / sum(scores)) / 3
    assert collaborative_loss(quantized, cf).item() == pytest.approx(expected, rel=1e-5)


def test_a_shift_of_the_cf_embeddings_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    quantized, cf = torch.randn(2, 20, 4, generator=generator)
    shifted = collaborative_loss(quantized, cf + torch.tensor([1.0, -2.0, 3.0, 0.5]))
    assert shifted.item() == pytest.approx(collaborative_loss(quantized, cf).item(), rel=1e-4)


def test_positives_are_other_codes_of_the_cluster_all_equally_likely():
    clusters = torch.tensor([0, 1, 0, 1, 0, 2, 0])
    codes = torch.tensor([0, 2, 4, 6, 1, 3, 5]).repeat(2000)
    torch.manual_seed(0)
    drawn = draw_positives(codes, clusters)
    assert (drawn[codes == 5] == -1).all()  # alone in its cluster
    paired = codes != 5
    assert (clusters[drawn[paired]] == clusters[codes[paired]]).all()
    assert (drawn[paired] != codes[paired]).all()
    counts = torch.bincount(drawn[codes == 0], minlength=7)
    assert counts[[2, 4, 6]].sum() == 2000
    assert counts[[2, 4, 6]].min() > 580


def test_diversity_is_the_cross_entropy_among_all_other_codes():
    book = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    codes, positives = torch.tensor([0, 4, 4, 2]), torch.tensor([3, 5, 1, -1])
    expected = 0.0
    for code, positive in [(0, 3), (4, 5), (4, 1)]:
        others = [math.exp(float(book[code] @ book[j])) for j in range(6) if j != code]
        expected -= math.log(math.exp(float(book[code] @ book[positive])) / sum(others)) / 3
    assert diversity_loss(book, codes, positives).item() == pytest.approx(expected, rel=1e-5)


def test_diversity_draws_the_positive_near_and_pushes_others_away():
    book = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], requires_grad=True)
    diversity_loss(book, torch.tensor([0]), torch.tensor([1])).backward()
    assert book.grad is not None
    step = -book.grad
    assert step[0, 1] > 0  # towards its positive
    assert step[2, 0] < 0  # the other code away from it
    assert book.grad.isfinite().all()


def test_diversity_of_items_without_a_positive_is_zero():
    book = torch.randn(3, 2, requires_grad=True)
    loss = diversity_loss(book, torch.tensor([0, 1]), torch.tensor([-1, -1]))
    loss.backward()
    assert loss.item() == 0.0


def test_total_loss_weighs_its_terms():
    terms = torch.tensor([1.0, 2.0, 4.0])
    assert letter_loss(*terms, alpha=0.5, beta=0.25).item() == 3.0
