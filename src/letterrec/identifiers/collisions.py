"""One item per identifier: colliding codes -> unique codes.

Items whose codes collide get other codes that are near.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from letterrec.errors import IdentifierError

_ITEMS_PER_CODE = 4  # colliding items under one prefix that are matched, at most


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
) -> NDArray[np.int32]:
    """Give every item an identifier of its own.

    Items whose codes are theirs alone keep them. The others, all colliding items under one prefix
    together, are matched anew with the codes of the last level that are free there, so that the
    sum of the squared distances to their residuals is least and each code takes at most one item:
    the linear assignment problem, solved exactly (Crouse, "On implementing 2D rectangular
    assignment algorithms", 2016). LETTER's public code demands equal shares for all codes instead,
    which sends two colliding items to codes far from both.

    Where more items collide than codes are free, those that fit best get the codes. The others
    take, in row order, the nearest code with room at the level before, and so on upwards. At most
    four items per code are matched; of more, the first.

    Args:
        codes: int32 ``(n, levels)`` as quantized.
        latents: float32 ``(n, d)``, what was quantized.
        codebooks: float32 ``(levels, codes, d)``.
        taken: int32 ``(m, levels)`` identifiers that no item may get.

    Returns:
        int32 ``(n, levels)``, rows distinct and not in ``taken``; the same for the same input.

    Raises:
        IdentifierError: there are fewer identifiers than items, or ``taken`` has another shape.
    """
    n_levels, n_codes, _ = codebooks.shape
    if taken is None:
        taken = np.zeros((0, n_levels), dtype=np.int32)
    check_room(len(codes), taken, (n_levels, n_codes))
    ids, counts = group(np.concatenate([codes, taken]))
    colliding = np.flatnonzero(counts[ids[: len(codes)]] > 1)
    if not len(colliding):
        return codes.copy()
    result = codes.copy()
    settled = np.ones(len(codes), dtype=bool)
    settled[colliding] = False
    _match(result, settled, latents, codebooks, taken)
    left = np.flatnonzero(~settled)
    if len(left):
        occupied = _Occupied(np.concatenate([result[settled], taken]), n_codes, n_levels)
        for row in left:
            result[row] = occupied.place(codes[row], latents[row], codebooks)
    return result


def check_room(n_items: int, taken: NDArray[np.int32], shape: tuple[int, ...]) -> None:
    """Refuse more items than there are free identifiers.

    Args:
        n_items: that need one each.
        taken: int32 ``(m, levels)`` identifiers that others have.
        shape: levels, and codes per level.

    Raises:
        IdentifierError: there are fewer, or ``taken`` are none of these codes.
    """
    n_levels, n_codes = shape
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
    if n_items > n_codes**n_levels - n_taken:
        raise IdentifierError(
            f"{n_items} items but only {n_codes**n_levels - n_taken} free identifiers "
            f"({n_levels} levels of {n_codes} codes, {n_taken} taken); "
            "raise tokenizer.codes or tokenizer.levels"
        )


def _match(
    result: NDArray[np.int32],
    settled: NDArray[np.bool_],
    latents: NDArray[np.float32],
    codebooks: NDArray[np.float32],
    taken: NDArray[np.int32],
) -> None:
    """Give unsettled rows, in place, the last codes that cost least; settle those that got one."""
    from scipy.optimize import linear_sum_assignment  # not for those who only read identifiers

    n_levels, n_codes, _ = codebooks.shape
    prefixes, sizes = group(np.concatenate([result, taken])[:, :-1])  # (n + m,), (prefixes,)
    order, ends = np.argsort(prefixes, kind="stable"), np.cumsum(sizes)
    last = np.concatenate([result, taken])[:, -1]  # (n + m,)
    moving = ~np.concatenate([settled, np.ones(len(taken), dtype=bool)])  # (n + m,)
    for prefix in np.unique(prefixes[moving]):
        under = order[ends[prefix] - sizes[prefix] : ends[prefix]]
        rows = under[moving[under]][: _ITEMS_PER_CODE * n_codes]  # (r,)
        is_free = np.ones(n_codes, dtype=bool)
        is_free[last[under[~moving[under]]]] = False
        free = is_free.nonzero()[0]  # (f,)
        above = codebooks[np.arange(n_levels - 1), result[rows[0], :-1]].sum(0)  # (d,)
        costs = _distances(latents[rows] - above, codebooks[-1][free])  # (r, f)
        of_rows, of_free = linear_sum_assignment(costs)
        result[rows[of_rows], -1] = free[of_free]
        settled[rows[of_rows]] = True


def _distances(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared distances, float32 ``(n, k)``, of points ``(n, d)`` and centres ``(k, d)``."""
    squares = np.square(points).sum(1)[:, None] + np.square(centres).sum(1)
    return np.asarray(squares - 2 * points @ centres.T)


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
