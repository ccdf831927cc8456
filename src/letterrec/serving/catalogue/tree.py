"""The tree of identifiers of a catalogue: what follows a prefix, and which items share codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.errors import NotFound
from letterrec.serving.catalogue.items import Catalogue
from letterrec.serving.catalogue.states import STATES


class Branch(TypedDict):
    """A code that follows a prefix; ``item_ids`` at the last level alone."""

    code: int
    items: int
    titles: list[str]
    item_ids: list[str]


class Branches(TypedDict):
    """The codes that follow a prefix, and how many items are below it."""

    prefix: list[int]
    items: int
    children: list[Branch]


class Shared(TypedDict):
    """An item, and per level whether its code is that of another one."""

    row: int
    shared: list[bool]


def children(catalogue: Catalogue, prefix: Sequence[int], titles: int = 3) -> Branches:
    """The codes that follow a prefix in the tree of identifiers.

    Args:
        catalogue: its items have the identifiers; deleted ones are left out.
        prefix: codes from the first level on; empty at the root.
        titles: sample titles per code, the most popular items'.

    Returns:
        The codes, most items first.

    Raises:
        NotFound: no identifier begins so.
    """
    codes = catalogue.identifiers.codes
    below = catalogue.states < STATES.index("deleted")
    for level, code in enumerate(prefix):
        if level >= codes.shape[1]:
            below = np.zeros(len(codes), dtype=bool)
            break
        below &= codes[:, level] == code
    rows = np.flatnonzero(below)
    if not len(rows):
        raise NotFound(f"no identifier begins with the codes {list(prefix)}")
    depth = len(prefix)
    result: Branches = {"prefix": list(prefix), "items": len(rows), "children": []}
    if depth == codes.shape[1]:
        return result
    rows = rows[np.lexsort((-catalogue.popularity[rows], codes[rows, depth]))]
    values, starts, sizes = np.unique(codes[rows, depth], return_index=True, return_counts=True)
    last = depth + 1 == codes.shape[1]
    for i in np.argsort(-sizes, kind="stable"):
        members = rows[starts[i] : starts[i] + sizes[i]]
        result["children"].append(
            {
                "code": int(values[i]),
                "items": int(sizes[i]),
                "titles": [catalogue.titles[r] for r in members[:titles]],
                "item_ids": [catalogue.item_ids[r] for r in members] if last else [],
            }
        )
    return result


def shared_codes(
    catalogue: Catalogue, history: Sequence[int], item: int, most: int = 3
) -> list[Shared]:
    """Explain an item by the items of the history that share codes with it at equal levels.

    Returns:
        Each such item once. Items with more leading codes in common come first, then more codes,
        then the latest.
    """
    latest = list(dict.fromkeys(reversed(history)))
    same = equal_codes(catalogue, latest, item)
    leading = np.cumprod(same, axis=1).sum(1)
    total = same.sum(1)
    order = np.lexsort((np.arange(len(latest)), -total, -leading))
    return [
        {"row": int(latest[i]), "shared": same[i].tolist()} for i in order[:most] if total[i] > 0
    ]


def equal_codes(catalogue: Catalogue, rows: Sequence[int], item: int) -> NDArray[np.bool_]:
    """bool ``(len(rows), n_levels)``: where the codes of items are those of another one."""
    codes = catalogue.identifiers.codes
    equal: NDArray[np.bool_] = (codes[list(rows)] == codes[item]) & (codes[item] >= 0)
    return equal


def most_popular_titles(catalogue: Catalogue, level: int, n: int = 3) -> dict[int, str]:
    """Code -> titles of its ``n`` most popular items at a level (from 1), as one line."""
    rows = np.flatnonzero(catalogue.is_present)
    frame = pl.DataFrame(
        {
            "code": catalogue.identifiers.codes[rows, level - 1],
            "title": [catalogue.titles[row] for row in rows],
            "popularity": catalogue.popularity[rows],
        }
    )
    lines = (
        frame.sort("popularity", descending=True)
        .group_by("code", maintain_order=True)
        .agg(pl.col("title").head(n))
    )
    return {code: " · ".join(titles) for code, titles in lines.iter_rows()}
