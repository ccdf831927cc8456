"""One item per identifier: colliding codes -> unique codes.

Items whose codes collide get other codes that are near.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.errors import IdentifierError

_ELEMENTS = 8_000_000  # of the plans that are solved at a time


def group(codes: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number equal rows alike.

    Args:
        codes: int32 ``(n, levels)``.

    Returns:
        int64 ``(n,)``: the number of each row's code sequence, in lexicographic order; and how
        many rows have each number.

    >>> group(np.array([[1, 2], [0, 5], [1, 2]], dtype=np.int32))[0].tolist()
    [1, 0, 1]
    """
    keys = np.zeros(len(codes), dtype=np.int64)
    possible = 1  # values that keys may have
    for level in codes.T.astype(np.int64):
        size = int(level.max(initial=0)) + 2
        if possible * size > 2**62:  # number them closely again
            keys, possible = np.unique(keys, return_inverse=True)[1], len(codes)
        keys = keys * size + level + 1
        possible *= size
    _, ids, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return ids, counts


def resolve(
    codes: NDArray[np.int32],
    latents: NDArray[np.float32],
    codebooks: NDArray[np.float32],
    *,
    taken: NDArray[np.int32] | None = None,
    epsilon: float = 0.003,
    iterations: int = 50,
) -> NDArray[np.int32]:
    """Give every item an identifier of its own.

    Items whose codes are theirs alone keep them. The others, all colliding items under one prefix
    together, are matched anew with the codes of the last level that are free there, by Sinkhorn's
    algorithm: it minimises the distances to their residuals, each code taking at most one item.
    (LETTER's public code demands equal shares for all codes instead, which sends two colliding
    items to codes far from both.) Items that it leaves without a code take, in row order, the
    nearest free code; where the last level is full under their prefix, the nearest code with room
    at the level before, and so on.

    Args:
        codes: int32 ``(n, levels)`` as quantized.
        latents: float32 ``(n, d)``, what was quantized.
        codebooks: float32 ``(levels, codes, d)``.
        taken: int32 ``(m, levels)`` identifiers that no item may get.
        epsilon: entropic regularization, as a share of a prefix's largest squared distance.
        iterations: of Sinkhorn's algorithm.

    Returns:
        int32 ``(n, levels)``, rows distinct and not in ``taken``; the same for the same input.

    Raises:
        IdentifierError: there are fewer identifiers than items, or ``taken`` has another shape.
    """
    n_levels, n_codes, _ = codebooks.shape
    if taken is None:
        taken = np.zeros((0, n_levels), dtype=np.int32)
    if taken.ndim != 2 or taken.shape[1] != n_levels:
        raise IdentifierError(
            f"taken identifiers have shape {taken.shape}; expected (m, {n_levels})"
        )
    if len(taken) and not (taken.min() >= 0 and taken.max() < n_codes):
        raise IdentifierError(
            f"taken identifiers hold the codes {taken.min()} to {taken.max()}; "
            f"expected 0 to {n_codes - 1}, the codes of this tokenizer"
        )
    n_taken = len(group(taken)[1])
    if len(codes) > n_codes**n_levels - n_taken:
        raise IdentifierError(
            f"{len(codes)} items but only {n_codes**n_levels - n_taken} free identifiers "
            f"({n_levels} levels of {n_codes} codes, {n_taken} taken); "
            "raise tokenizer.codes or tokenizer.levels"
        )
    ids, counts = group(np.concatenate([codes, taken]))
    colliding = np.flatnonzero(counts[ids[: len(codes)]] > 1)
    if not len(colliding):
        return codes.copy()
    result = codes.copy()
    settled = np.ones(len(codes), dtype=bool)
    settled[colliding] = False
    _match(result, settled, colliding, latents, codebooks, taken, epsilon, iterations)
    left = np.flatnonzero(~settled)
    if len(left):
        occupied = _Occupied(np.concatenate([result[settled], taken]), n_codes, n_levels)
        for row in left:
            result[row] = occupied.place(codes[row], latents[row], codebooks)
    return result


def capacity_sinkhorn(cost: Tensor, free: Tensor, *, epsilon: float, iterations: int) -> Tensor:
    """Logarithm of the entropic plan that gives each item 1 and each free code at most 1.

    Sinkhorn's algorithm in the logarithmic domain; the scaling of a code never exceeds 1, which is
    the projection onto "at most" (Chizat et al., "Scaling algorithms for unbalanced optimal
    transport problems", 2018).

    Args:
        cost: float ``(groups, items, codes)``, at least 0; infinite rows are padding.
        free: bool ``(groups, codes)``; each group has a free code.
        epsilon: entropic regularization.
        iterations: rounds.

    Returns:
        float ``(groups, items, codes)``; ``-inf`` for codes that are not free and for padding.
    """
    kernel = (-cost / epsilon).masked_fill(~free[:, None, :], -torch.inf)
    padding = cost.isinf().all(2)  # (groups, items)
    of_codes = torch.zeros(free.shape)  # (groups, codes)
    of_items = torch.zeros(padding.shape)  # (groups, items)
    for _ in range(iterations):
        of_items = -(kernel + of_codes[:, None, :]).logsumexp(2)
        of_items = of_items.masked_fill(padding, -torch.inf)
        of_codes = -(kernel + of_items[:, :, None]).logsumexp(1)
        of_codes = of_codes.clamp(max=0)
    return (kernel + of_items[:, :, None] + of_codes[:, None, :]).nan_to_num(nan=-torch.inf)


def _match(
    result: NDArray[np.int32],
    settled: NDArray[np.bool_],
    colliding: NDArray[np.int64],
    latents: NDArray[np.float32],
    codebooks: NDArray[np.float32],
    taken: NDArray[np.int32],
    epsilon: float,
    iterations: int,
) -> None:
    """Re-assign the last code of the colliding rows in place; mark those that got one."""
    n_levels, n_codes, _ = codebooks.shape
    prefixes, _ = group(np.concatenate([result, taken])[:, :-1])  # (n + m,)
    fixed = np.concatenate([settled, np.ones(len(taken), dtype=bool)])
    last = np.concatenate([result, taken])[:, -1]
    # Colliding rows, prefix by prefix; at most 4 rows per code can hope for one.
    names, which = np.unique(prefixes[colliding], return_inverse=True)  # (groups,), (c,)
    order = np.argsort(which, kind="stable")
    rows, which = colliding[order], which[order]
    sizes = np.bincount(which)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    hopeful = place < 4 * n_codes
    rows, which, place = rows[hopeful], which[hopeful], place[hopeful]
    sizes = np.minimum(sizes, 4 * n_codes)
    free = np.ones((len(names), n_codes), dtype=bool)
    group_of = np.searchsorted(names, prefixes).clip(max=len(names) - 1)
    beside = fixed & (names[group_of] == prefixes)
    free[group_of[beside], last[beside]] = False
    for width in np.unique(2 ** np.ceil(np.log2(sizes)).astype(np.int64)):
        members = np.flatnonzero((sizes <= width) & (2 * sizes > width) & free.any(1))
        step = max(1, _ELEMENTS // (int(width) * n_codes))
        for start in range(0, len(members), step):
            chosen = members[start : start + step]
            inside = np.isin(which, chosen)
            at = np.searchsorted(chosen, which[inside]), place[inside]
            residuals = latents[rows[inside]].copy()  # (r, d)
            for level in range(n_levels - 1):
                residuals -= codebooks[level][result[rows[inside], level]]
            cost = torch.full((len(chosen), int(width), n_codes), torch.inf)
            cost[at] = _distances(residuals, codebooks[-1])
            largest = cost.masked_fill(cost.isinf(), 0).amax((1, 2), keepdim=True)
            plan = capacity_sinkhorn(
                cost / largest.clamp(min=1e-12),
                torch.from_numpy(free[chosen]),
                epsilon=epsilon,
                iterations=iterations,
            )
            best = plan.max(2)  # (groups, width)
            values, picked = best.values[at].numpy(), best.indices[at].numpy()
            # Of several rows that pick one code, the surest gets it, the first of equals.
            keys = at[0] * n_codes + picked
            by_value = np.lexsort((rows[inside], -values, keys))
            first = np.r_[True, np.diff(keys[by_value]) > 0]
            winners = by_value[first & np.isfinite(values[by_value])]
            result[rows[inside][winners], -1] = picked[winners]
            settled[rows[inside][winners]] = True


def _distances(points: NDArray[np.float32], centres: NDArray[np.float32]) -> Tensor:
    """float32 ``(n, k)``: squared distances."""
    return torch.cdist(torch.from_numpy(points), torch.from_numpy(centres)).square()


class _Occupied:
    """How many identifiers are in use under each prefix, and the nearest one that is not."""

    def __init__(self, codes: NDArray[np.int32], n_codes: int, n_levels: int) -> None:
        self._n_codes = n_codes
        self._capacity = [min(n_codes ** (n_levels - level), 2**62) for level in range(n_levels)]
        self._keys: list[NDArray[np.int64]] = []  # per level: number of the prefix, then the code
        self._leaves: list[NDArray[np.int64]] = []  # identifiers under each of them
        self._counts: dict[tuple[int, ...], NDArray[np.int64]] = {}
        ids = np.zeros(len(codes), dtype=np.int64)
        for level in codes.T.astype(np.int64):
            keys, ids, leaves = np.unique(
                ids * n_codes + level, return_inverse=True, return_counts=True
            )
            self._keys.append(keys)
            self._leaves.append(leaves)

    def place(
        self,
        codes: NDArray[np.int32],
        latent: NDArray[np.float32],
        codebooks: NDArray[np.float32],
    ) -> list[int]:
        """The nearest free identifier under the longest prefix of ``codes`` with room; taken."""
        depth = len(codes) - 1
        while self._under(tuple(codes[:depth].tolist())).sum() >= self._capacity[depth]:
            depth -= 1
        placed: list[int] = codes[:depth].tolist()
        residual = latent - codebooks[np.arange(depth), codes[:depth]].sum(0)
        for level in range(depth, len(codes)):
            room = self._capacity[level] // self._n_codes
            distances = np.square(residual - codebooks[level]).sum(1)  # (codes,)
            distances[self._under(tuple(placed)) >= room] = np.inf
            placed.append(int(distances.argmin()))
            residual = residual - codebooks[level][placed[-1]]
        for level in range(len(codes)):
            self._under(tuple(placed[:level]))[placed[level]] += 1
        return placed

    def _under(self, prefix: tuple[int, ...]) -> NDArray[np.int64]:
        """int64 ``(codes,)``: identifiers in use under each code that may follow a prefix."""
        if prefix not in self._counts:
            self._counts[prefix] = self._count(prefix)
        return self._counts[prefix]

    def _count(self, prefix: tuple[int, ...]) -> NDArray[np.int64]:
        counts = np.zeros(self._n_codes, dtype=np.int64)
        number = 0
        for keys, code in zip(self._keys, prefix, strict=False):
            key = number * self._n_codes + code
            number = int(np.searchsorted(keys, key))
            if number == len(keys) or keys[number] != key:
                return counts
        keys, leaves = self._keys[len(prefix)], self._leaves[len(prefix)]
        bounds = [number * self._n_codes, (number + 1) * self._n_codes]
        first, last = np.searchsorted(keys, bounds)
        counts[keys[first:last] % self._n_codes] = leaves[first:last]
        return counts
