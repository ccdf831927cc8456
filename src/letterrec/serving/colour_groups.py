"""Groups of items that have a colour each on a map: by domain, category or first code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from letterrec.serving.catalogue.items import Catalogue
from letterrec.serving.engine import Engine

NAMED = 6  # groups with a colour of their own; all others share one
_TITLES = 2  # that stand for a code
_TITLE = 28  # characters of one
_LARGEST = 0.8  # share of one category beyond which the level below it is more telling


@dataclass(frozen=True)
class ColourGroups:
    """Which group each of some items is of.

    Attributes:
        title: by what they are told apart.
        names: of the groups, the commonest first; at most `NAMED`, and one for all others.
        of_each: per item its place in ``names``; `NAMED` for all others.
    """

    title: str
    names: list[str]
    of_each: list[int]


def colour_groups(
    engine: Engine, catalogue: Catalogue, rows: NDArray[np.int64]
) -> list[ColourGroups]:
    """The ways to tell items apart that a run has, the most telling first.

    Args:
        engine: has the categories.
        catalogue: has the codes.
        rows: int64 ``(n,)`` of the items.
    """
    found = []
    if engine.dataset.domains is not None:
        domains = [catalogue.domains[row] for row in rows]
        found.append(_grouped("domain", domains, lambda name: name))
    if (each := _categories(engine, rows)) is not None:
        found.append(_grouped("category", each, lambda name: name))
    if catalogue.identifiers.n_levels:
        codes = [str(code) for code in catalogue.identifiers.codes[rows, 0]]
        found.append(
            _grouped("first code", codes, lambda code: _code_name(catalogue, rows, int(code)))
        )
    return found


def _categories(engine: Engine, rows: NDArray[np.int64]) -> list[str] | None:
    """The category of each item, at the first depth at which not nearly all are of one."""
    each = engine.dataset.categories
    if each is None:
        return None
    mine = [each[row] if row < len(each) else () for row in rows]
    deepest = max((len(path) for path in mine), default=0)
    for depth in range(deepest):
        names = [path[min(depth, len(path) - 1)] if path else "" for path in mine]
        if Counter(names).most_common(1)[0][1] <= _LARGEST * len(names):
            return names
    return None


def _code_name(catalogue: Catalogue, rows: NDArray[np.int64], code: int) -> str:
    """A code with the most popular titles that have it."""
    own = rows[catalogue.identifiers.codes[rows, 0] == code]
    best = own[np.argsort(-catalogue.popularity[own], kind="stable")][:_TITLES]
    titles = [catalogue.titles[row] for row in best]
    short = [t if len(t) <= _TITLE else f"{t[:_TITLE]}…" for t in titles]
    return f"a {code}: {', '.join(short)}"


def _grouped(title: str, each: Sequence[str], name: Callable[[str], str]) -> ColourGroups:
    common = [group for group, _ in Counter(each).most_common(NAMED + 1)]
    named = common if len(common) <= NAMED else common[:NAMED]
    place = {group: i for i, group in enumerate(named)}
    names = [name(group) or "none" for group in named]
    of_each = [place.get(group, NAMED) for group in each]
    if NAMED in of_each:
        names.append("others")
    return ColourGroups(title, names, of_each)
