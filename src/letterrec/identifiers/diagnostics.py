"""What identifiers look like: use of codes, collisions, agreement with CF embeddings (Table 4)."""

from __future__ import annotations

from typing import NotRequired, TypedDict, final

import numpy as np
from numpy.typing import NDArray

from letterrec.errors import IdentifierError
from letterrec.identifiers.collisions import group
from letterrec.identifiers.identifiers import Identifiers

_BLOCK = 16_000_000  # cosines that are held at a time


class LevelUse(TypedDict):
    """How the codes of a level are used."""

    codes_used: int
    entropy: float
    largest_share: float


class CollisionRate(TypedDict):
    """`collision_rate` before and after collisions were resolved."""

    before: float
    after: float


@final
class Diagnosis(TypedDict):
    """What `diagnose` gives."""

    levels: list[LevelUse]
    collision_rate: CollisionRate
    cf_overlap: NotRequired[float | None]  # runs of earlier versions may lack it


def diagnose(
    identifiers: Identifiers,
    before: NDArray[np.int32] | None = None,
    cf: NDArray[np.float32] | None = None,
) -> Diagnosis:
    """What identifiers look like.

    Args:
        identifiers: as they are used.
        before: int32 ``(n_items, n_levels)`` codes before collisions were resolved; None if the
            identifiers came from outside.
        cf: float32 ``(n_items, d)`` CF embeddings; None if there are none.

    Returns:
        ``levels``: per level ``codes_used``, ``entropy`` of the distribution of codes over items
        in bits, and ``largest_share`` of items with one code; the `collision_rate` ``before`` and
        ``after`` resolution; and the `cf_overlap`, None without CF embeddings.
    """
    levels: list[LevelUse] = [
        {
            "codes_used": int((counts > 0).sum()),
            "entropy": entropy(counts),
            "largest_share": float(counts.max(initial=0) / max(1, counts.sum())),
        }
        for counts in code_counts(identifiers)
    ]
    after = collision_rate(identifiers.codes)
    return {
        "levels": levels,
        "collision_rate": {
            "before": after if before is None else collision_rate(before),
            "after": after,
        },
        "cf_overlap": None if cf is None else cf_overlap(identifiers.codes, cf),
    }


def code_counts(identifiers: Identifiers) -> list[NDArray[np.int64]]:
    """Per level int64 ``(codes,)``: how many items have each code there.

    >>> ids = Identifiers(np.array([[0, 1], [0, 0], [2, -1]], dtype=np.int32), (3, 2))
    >>> [level.tolist() for level in code_counts(ids)]
    [[2, 0, 1], [1, 1]]
    """
    return [
        np.bincount(level[level >= 0], minlength=size).astype(np.int64)
        for level, size in zip(identifiers.codes.T, identifiers.sizes, strict=True)
    ]


def entropy(counts: NDArray[np.integer]) -> float:
    """Entropy in bits of the distribution that counts stand for.

    >>> entropy(np.array([2, 2, 0]))
    1.0
    """
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def collision_rate(codes: NDArray[np.int32]) -> float:
    """Share of items that would need another identifier: 1 - distinct sequences / items.

    This is the figure that LETTER and LC-Rec report.

    Args:
        codes: int32 ``(n, levels)``.

    >>> collision_rate(np.array([[1, 2], [1, 2], [1, 3], [0, 2]], dtype=np.int32))
    0.25
    """
    return 1 - len(group(codes)[1]) / len(codes) if len(codes) else 0.0


def cf_overlap(codes: NDArray[np.int32], cf: NDArray[np.float32]) -> float:
    """Mean share of equal positions between an item's codes and its CF neighbour's (Table 4).

    The neighbour is the other item with the highest cosine between CF embeddings, the first of
    equals.

    Args:
        codes: int32 ``(n, levels)``.
        cf: float32 ``(n, d)``, row for row.

    >>> codes = np.array([[1, 2], [1, 3], [4, 5]], dtype=np.int32)
    >>> cf = np.array([[1, 0], [1, 0.1], [0, 1]], dtype=np.float32)
    >>> cf_overlap(codes, cf)  # 1/2, 1/2 and 0
    0.3333333333333333
    """
    if len(codes) != len(cf):
        raise IdentifierError(
            f"{len(cf)} CF embeddings for {len(codes)} identifiers; expected one row per item"
        )
    if len(codes) < 2:
        return 0.0
    norms = np.linalg.norm(cf, axis=1, keepdims=True)
    unit = np.asarray(cf / np.where(norms > 0, norms, 1), dtype=np.float32)  # (n, d)
    rows = max(1, _BLOCK // len(unit))
    equal = 0.0
    for start in range(0, len(unit), rows):
        cosines = unit[start : start + rows] @ unit.T  # (rows, n)
        own = np.arange(len(cosines))
        cosines[own, start + own] = -np.inf
        equal += float((codes[start : start + rows] == codes[cosines.argmax(1)]).mean(1).sum())
    return equal / len(codes)
