"""What identifiers look like: use of codes, collisions, agreement with CF embeddings (Table 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NotRequired, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from letterrec.embeddings.similarity import EXACT, unit
from letterrec.errors import IdentifierError
from letterrec.identifiers.collisions import group
from letterrec.identifiers.identifiers import Identifiers

SAMPLED = 8192  # items whose CF neighbour is looked for in a catalogue of more than `EXACT`
_COSINES = 16_000_000  # that are held at a time
_PAIRS, _PARTNERS = 2_000_000, 32  # random pairs, and partners of an item, at most


class LevelUse(TypedDict):
    """How the codes of a level are used."""

    codes_used: int
    entropy: float
    largest_share: float


class CollisionRate(TypedDict):
    """`collision_rate` before and after collisions were resolved."""

    before: float
    after: float


class DomainUse(TypedDict):
    """How the items of a domain use the codes.

    ``shared`` is the share of them whose first code items of another domain have too.
    """

    items: int
    levels: list[LevelUse]
    shared: float


@final
class Diagnosis(TypedDict):
    """What `diagnose` gives."""

    levels: list[LevelUse]
    collision_rate: CollisionRate
    cf_overlap: NotRequired[float | None]  # runs of earlier versions may lack it, and the next two
    cf_overlap_any: NotRequired[float | None]
    cf_overlap_items: NotRequired[int]  # there where both are of a sample of so many items
    random_overlap_any: NotRequired[float]
    domains: NotRequired[dict[str, DomainUse]]  # of several sources


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
        ``after`` resolution; ``cf_overlap``, the mean share of an item's codes that are those of
        its CF neighbour, and ``cf_overlap_any``, the share of items with at least one such code,
        both None without CF embeddings; ``cf_overlap_items``, where both are of a sample of so
        many items; ``random_overlap_any``, ``cf_overlap_any`` for random pairs.
    """
    after = collision_rate(identifiers.codes)
    result: Diagnosis = {
        "levels": level_uses(identifiers),
        "collision_rate": {
            "before": after if before is None else collision_rate(before),
            "after": after,
        },
        "cf_overlap": None,
        "cf_overlap_any": None,
        "random_overlap_any": random_overlap_any(identifiers.codes),
    }
    if cf is not None:
        shared = _shared(identifiers.codes, cf)
        result["cf_overlap"], result["cf_overlap_any"] = _mean(shared), _share_any(shared)
        if len(shared) < len(cf):
            result["cf_overlap_items"] = len(shared)
    return result


def level_uses(identifiers: Identifiers) -> list[LevelUse]:
    """How the codes of each level are used."""
    return [
        {
            "codes_used": int((counts > 0).sum()),
            "entropy": entropy(counts),
            "largest_share": float(counts.max(initial=0) / max(1, counts.sum())),
        }
        for counts in code_counts(identifiers)
    ]


def domain_use(identifiers: Identifiers, domains: Sequence[str]) -> dict[str, DomainUse]:
    """How the items of each domain use the codes.

    Args:
        identifiers: of all items.
        domains: one per item.

    >>> ids = Identifiers(np.array([[0, 1], [0, 0], [2, 1]], dtype=np.int32), (3, 2))
    >>> found = domain_use(ids, ["books", "games", "games"])
    >>> found["games"]["items"], found["games"]["shared"], found["books"]["shared"]
    (2, 0.5, 1.0)
    """
    found: dict[str, DomainUse] = {}
    for name in dict.fromkeys(domains):
        own = np.array([domain == name for domain in domains])
        elsewhere = np.isin(identifiers.codes[own, 0], identifiers.codes[~own, 0])
        found[name] = {
            "items": int(own.sum()),
            "levels": level_uses(replace(identifiers, codes=identifiers.codes[own])),
            "shared": float(elsewhere.mean()),
        }
    return found


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


def overlaps(codes: NDArray[np.int32], cf: NDArray[np.float32]) -> tuple[float, float]:
    """`cf_overlap` and `cf_overlap_any`, whose neighbours are looked for once."""
    shared = _shared(codes, cf)
    return _mean(shared), _share_any(shared)


def cf_overlap(codes: NDArray[np.int32], cf: NDArray[np.float32]) -> float:
    """Mean share of equal positions between an item's codes and its CF neighbour's.

    Args:
        codes: int32 ``(n, levels)``; -1 after a shorter identifier is no code.
        cf: float32 ``(n, d)``, row for row; see `cf_neighbours`.

    >>> codes = np.array([[1, 2], [1, 3], [4, 5]], dtype=np.int32)
    >>> cf = np.array([[1, 0], [1, 0.1], [0, 1]], dtype=np.float32)
    >>> cf_overlap(codes, cf)  # 1/2, 1/2 and 0
    0.3333333333333333
    """
    return _mean(_shared(codes, cf))


def cf_overlap_any(codes: NDArray[np.int32], cf: NDArray[np.float32]) -> float:
    """Share of items with at least one code equal to their CF neighbour's (Table 4).

    The paper does not say how it counts; on its published identifiers this gives the figures that
    it prints. Few codes in use are shared by chance: `random_overlap_any` says how often.

    Args:
        codes: as in `cf_overlap`.
        cf: as in `cf_overlap`.

    >>> codes = np.array([[1, 2], [1, 3], [4, 5]], dtype=np.int32)
    >>> cf = np.array([[1, 0], [1, 0.1], [0, 1]], dtype=np.float32)
    >>> cf_overlap_any(codes, cf)  # the third shares none with the second
    0.6666666666666666
    """
    return _share_any(_shared(codes, cf))


def random_overlap_any(codes: NDArray[np.int32]) -> float:
    """`cf_overlap_any` with random other items in the neighbours' place.

    Args:
        codes: int32 ``(n, levels)``.

    >>> random_overlap_any(np.array([[1, 2], [1, 3], [1, 2]], dtype=np.int32))
    1.0
    """
    n = len(codes)
    if n < 2:
        return 0.0
    random = np.random.default_rng(0)
    shares = [
        _share_any(_equal(codes, codes[(np.arange(n) + random.integers(1, n, n)) % n]))
        for _ in range(min(_PARTNERS, -(-_PAIRS // n)))
    ]
    return float(np.mean(shares))


def cf_neighbours(
    cf: NDArray[np.float32], items: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """The other item with the highest cosine between CF embeddings, the first of equals.

    Args:
        cf: float32 ``(n, d)``, ``n >= 2``.
        items: int64 ``(m,)`` rows of the items whose neighbours are looked for; None: all.

    Returns:
        int64 ``(m,)``.
    """
    directions = unit(cf)  # (n, d)
    wanted = np.arange(len(cf)) if items is None else items
    rows = max(1, _COSINES // len(cf))
    neighbours = []
    for start in range(0, len(wanted), rows):
        own = wanted[start : start + rows]
        cosines = directions[own] @ directions.T  # (rows, n)
        cosines[np.arange(len(own)), own] = -np.inf
        neighbours.append(cosines.argmax(1))
    return np.concatenate(neighbours)


def _shared(codes: NDArray[np.int32], cf: NDArray[np.float32]) -> NDArray[np.bool_]:
    """bool ``(m, levels)``: whether a code is that of the CF neighbour; of one item alone, none.

    Of all items, or of 8,192 in a catalogue of more than 32,768: the same ones at every call.
    """
    if len(codes) != len(cf):
        raise IdentifierError(
            f"{len(cf)} CF embeddings for {len(codes)} identifiers; expected one row per item"
        )
    if len(codes) < 2:
        return np.zeros(codes.shape, dtype=bool)
    items = np.arange(len(codes))
    if len(items) > EXACT:
        items = np.random.default_rng(0).choice(items, SAMPLED, replace=False)
    return _equal(codes[items], codes[cf_neighbours(cf, items)])


def _equal(codes: NDArray[np.int32], others: NDArray[np.int32]) -> NDArray[np.bool_]:
    equal: NDArray[np.bool_] = (codes == others) & (codes >= 0)
    return equal


def _mean(equal: NDArray[np.bool_]) -> float:
    return float(equal.mean()) if equal.size else 0.0


def _share_any(equal: NDArray[np.bool_]) -> float:
    return float(equal.any(1).mean()) if len(equal) else 0.0
