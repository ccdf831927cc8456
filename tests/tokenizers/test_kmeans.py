import pytest
import torch

from letterrec.tokenizers.kmeans import (
    balanced_kmeans,
    constrained_clusters,
    kmeans,
    nearest,
    residual_kmeans,
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def planted(k: int, each: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around ``k`` far centres, and the centre of each."""
    truth = torch.arange(k).repeat_interleave(each)
    return 20.0 * torch.eye(k)[truth] + 0.1 * torch.randn(len(truth), k), truth


def test_nearest_agrees_with_distances_and_adds_prices():
    points, centres = torch.randn(100, 3), torch.randn(7, 3)
    distances = torch.cdist(points, centres).square()
    assert torch.equal(nearest(points, centres), distances.argmin(1))
    prices = torch.rand(7)
    assert torch.equal(nearest(points, centres, prices), (distances + prices).argmin(1))
    assert nearest(points[:0], centres).shape == (0,)


def test_kmeans_finds_planted_clusters():
    points, truth = planted(12, 30)
    assigned = nearest(points, kmeans(points, 12))
    assert len(torch.stack([assigned, truth]).unique(dim=1).T) == 12


def test_kmeans_leaves_no_cluster_empty():
    points = torch.cat([torch.zeros(500, 2), torch.randn(100, 2)])
    assert len(nearest(points, kmeans(points, 40)).unique()) == 40


@pytest.mark.parametrize("n", [1, 5, 16])
def test_fewer_points_than_centres(n: int):
    points = torch.randn(n, 3)
    centres = kmeans(points, 16)
    assert centres.shape == (16, 3)
    assert torch.allclose(points, centres[nearest(points, centres)], atol=1e-2)


@pytest.mark.parametrize(("n", "distinct", "k"), [(2000, 100, 256), (1000, 10, 64), (300, 1, 16)])
def test_centres_differ_where_points_do_not(n: int, distinct: int, k: int):
    points = torch.randn(distinct, 32)[torch.randint(distinct, (n,))]
    centres = kmeans(points, k)
    assert len(torch.unique(centres, dim=0)) == k
    assert (points - centres[nearest(points, centres)]).square().sum(1).max() < 0.01


def test_equal_points_end():
    assert kmeans(torch.ones(50, 3), 8).isfinite().all()


def test_residual_kmeans_halves_the_error_level_by_level():
    points = torch.randn(3000, 6)
    books = residual_kmeans(points, levels=3, codes=32)
    errors = []
    for book in books:
        points = points - book[nearest(points, book)]
        errors.append(float(points.square().mean()))
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < 0.6 * errors[1]


def test_balanced_clusters_are_of_nearly_equal_size():
    points = torch.cat([torch.randn(800, 4), 6 + 0.1 * torch.randn(200, 4)])
    centres, prices = balanced_kmeans(points, 10)
    sizes = torch.bincount(nearest(points, centres, prices), minlength=10)
    assert sizes.max() <= 125
    assert sizes.min() >= 75


@pytest.mark.parametrize(("n", "k"), [(256, 10), (16, 10), (4, 10), (2, 1)])
def test_constrained_clusters_are_bounded(n: int, k: int):
    labels = constrained_clusters(torch.randn(n, 8), k)
    sizes = torch.bincount(labels)
    k = min(n, k)
    assert labels.shape == (n,)
    assert sizes.max() <= -(-2 * n // k)
    assert sizes.min() >= n // (2 * k)


def test_constrained_clusters_of_equal_codes_end():
    assert constrained_clusters(torch.zeros(20, 3), 4).shape == (20,)
