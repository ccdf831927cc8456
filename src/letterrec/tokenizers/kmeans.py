"""k-means: plain, residual and with bounded cluster sizes.

Randomness comes from the random states that `training.devices.set_seed` sets.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SAMPLE_PER_CENTRE = 256  # points that a centre is fitted on, at most
_CHUNK = 65_536  # rows whose distances are held at a time
_BALANCE_PER_CENTRE = 64  # points that prices are fitted on, at most
_HOT, _COLD = 1.0, 0.003  # regularization of the prices, first and last, of the mean cost
_PRICE_STEPS = 6  # of Sinkhorn's algorithm per round
_JITTER = 1e-3  # of the points' deviation: apart enough for centres that share a point


def nearest(points: Tensor, centres: Tensor, prices: Tensor | None = None) -> Tensor:
    """The nearest centre of each point in squared Euclidean distance; the first of equals.

    Args:
        points: float ``(n, d)``.
        centres: float ``(k, d)``.
        prices: float ``(k,)``, added to the squared distances; None for none.

    Returns:
        int64 ``(n,)``.
    """
    half = 0.5 * centres.square().sum(1)  # (k,)
    if prices is not None:
        half = half + 0.5 * prices
    parts = [_smallest(half - chunk @ centres.T) for chunk in torch.split(points, _CHUNK)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64, device=points.device)


def _smallest(rows: Tensor) -> Tensor:
    """``rows.argmin(1)``, by NumPy on a processor: the same, and five times as fast."""
    if rows.device.type == "cpu":
        return torch.from_numpy(rows.detach().numpy().argmin(1))
    return rows.argmin(1)


def kmeans(points: Tensor, k: int, *, iterations: int = 20) -> Tensor:
    """Centres by Lloyd's algorithm from a k-means++ start, empty clusters re-placed.

    An empty cluster moves to one of the points that lie farthest from their centre. Where there
    are fewer distinct points than centres, the centres without a point of their own are slightly
    moved copies of points.

    Args:
        points: float ``(n, d)``, ``n >= 1``.
        k: number of centres.
        iterations: rounds of assignment and averaging.

    Returns:
        float ``(k, d)``.
    """
    n = len(points)
    if n > k * _SAMPLE_PER_CENTRE:
        points = points[torch.randperm(n)[: k * _SAMPLE_PER_CENTRE]]
        n = len(points)
    if n <= k:
        return torch.cat([points, _moved_copies(points, k - n)])
    centres = _spread(points, k)  # (k, d)
    for _ in range(iterations):
        assigned = nearest(points, centres)  # (n,)
        sizes = torch.bincount(assigned, minlength=k)  # (k,)
        sums = torch.zeros_like(centres).index_add_(0, assigned, points)  # (k, d)
        empty = (sizes == 0).nonzero().squeeze(1)
        distances = (points - centres[assigned]).square().sum(1)  # (n,)
        centres = sums / sizes.clamp(min=1)[:, None]
        if len(empty):
            farthest = distances.topk(len(empty))
            centres[empty] = points[farthest.indices]
            covered = empty[farthest.values <= _JITTER**2 * points.square().sum(1).mean()]
            if len(covered):  # a copy of such a point would be a centre twice
                centres[covered] = _moved_copies(points, len(covered))
    return centres


def residual_kmeans(points: Tensor, *, levels: int, codes: int, iterations: int = 20) -> Tensor:
    """Codebooks by k-means on the points, then on what the level before left over (eq. 1).

    Args:
        points: float ``(n, d)``.
        levels: number of codebooks.
        codes: centres per codebook.
        iterations: of Lloyd's algorithm, per level.

    Returns:
        float ``(levels, codes, d)``.
    """
    residual = points
    codebooks = []
    for _ in range(levels):
        centres = kmeans(residual, codes, iterations=iterations)
        codebooks.append(centres)
        residual = residual - centres[nearest(residual, centres)]
    return torch.stack(codebooks)  # (levels, codes, d)


def balanced_kmeans(points: Tensor, k: int, *, rounds: int = 12) -> tuple[Tensor, Tensor]:
    """Centres whose clusters are of nearly equal size, held so by a price per centre.

    Assignment to the centre with the least squared distance plus price is the optimal transport
    of the points to equally large clusters. The prices come from Sinkhorn's algorithm in the
    logarithmic domain, its regularization lowered from round to round; each round then averages
    the clusters.

    Args:
        points: float ``(n, d)``, ``n >= 1``.
        k: number of centres.
        rounds: of prices and averaging.

    Returns:
        Centres ``(k, d)`` and prices ``(k,)``, for `nearest`.
    """
    centres = kmeans(points, k)
    prices = torch.zeros(k).to(points)
    if len(points) <= k:
        return centres, prices
    if len(points) > k * _BALANCE_PER_CENTRE:
        points = points[torch.randperm(len(points))[: k * _BALANCE_PER_CENTRE]]
    share = math.log(len(points) / k)
    for i in range(rounds):
        costs = torch.cdist(points, centres).square()  # (n, k)
        epsilon = costs.mean() * _HOT * (_COLD / _HOT) ** (i / max(1, rounds - 1))
        last = i + 1 == rounds
        for _ in range(_PRICE_STEPS * (5 if last else 1)):
            of_points = -(-(costs + prices) / epsilon).logsumexp(1, keepdim=True)  # (n, 1)
            prices = epsilon * ((of_points - costs / epsilon).logsumexp(0) - share)
        if last:  # these prices belong to these centres
            break
        assigned = nearest(points, centres, prices)
        sizes = torch.bincount(assigned, minlength=k)[:, None]  # (k, 1)
        sums = torch.zeros_like(centres).index_add_(0, assigned, points)  # (k, d)
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
    return centres, prices


def constrained_clusters(points: Tensor, k: int) -> Tensor:
    """Clusters of similar size by constrained k-means, as LETTER clusters codes (eq. 4).

    A cluster holds between half and twice its even share of the points.

    Args:
        points: float ``(n, d)``.
        k: clusters; cut to ``n``.

    Returns:
        int64 ``(n,)``: cluster of each point.
    """
    from k_means_constrained import KMeansConstrained  # a third of a second of imports

    n = len(points)
    k = min(k, n)
    seed = int(torch.randint(2**31, ()))
    model = KMeansConstrained(
        n_clusters=k,
        size_min=n // (2 * k),
        size_max=min(n, -(-2 * n // k)),
        n_init=1,
        n_jobs=1,
        random_state=seed,
    )
    labels = model.fit_predict(points.detach().cpu().double().numpy())
    return torch.from_numpy(labels).to(points.device, torch.int64)


def _spread(points: Tensor, k: int) -> Tensor:
    """``(k, d)`` points far from each other: k-means++ (Arthur and Vassilvitskii, 2007)."""
    norms = points.square().sum(1)  # (n,)
    first = int(torch.randint(len(points), ()))
    chosen = [first]
    distances = torch.full_like(norms, torch.inf)
    for _ in range(k - 1):
        last = chosen[-1]
        to_last = norms + norms[last] - 2 * points @ points[last]  # (n,)
        distances = distances.minimum(to_last).clamp(min=0)
        distances[last] = 0
        total = distances.cumsum(0, dtype=torch.float64)
        if total[-1] <= 0:
            break
        draw = torch.rand((), dtype=torch.float64).to(total) * total[-1]
        chosen.append(min(int(torch.searchsorted(total, draw, right=True)), len(points) - 1))
    spread = points[chosen]
    return torch.cat([spread, _moved_copies(points, k - len(spread))])


def _moved_copies(points: Tensor, count: int) -> Tensor:
    """``(count, d)`` copies of random points, each moved by a little."""
    scale = points.std(unbiased=False).clamp(min=1e-6) * _JITTER
    copies = points[torch.randint(len(points), (count,), device="cpu")]
    noise = torch.randn(copies.shape).to(points)
    return copies + noise * scale
