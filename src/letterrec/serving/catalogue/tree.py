"""The tree of identifiers of a catalogue: what follows a prefix, and which items share codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from letterrec.errors import NotFound
from letterrec.serving.catalogue.items import STATES, Catalogue


def children(catalogue: Catalogue, prefix: Sequence[int], titles: int = 3) -> dict[str, Any]:
    """The codes that follow a prefix in the tree of identifiers.

    Args:
        catalogue: its items have the identifiers; deleted ones are left out.
        prefix: codes from the first level on; empty at the root.
        titles: sample titles per code, the most popular items'.

    Returns:
        ``prefix``, ``items`` (below it) and ``children``: per code ``code``, ``items`` and sample
        ``titles``, most items first; at the last level each child also has its ``item`` ids.

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
    result: dict[str, Any] = {"prefix": list(prefix), "items": len(rows), "children": []}
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
) -> list[dict[str, Any]]:
    """Explain an item by the items of the history that share codes with it at equal levels.

    Returns:
        For each such item, once, ``row`` and ``shared`` (a flag per level). Items with more leading
        codes in common come first, then more codes, then the latest.
    """
    codes = catalogue.identifiers.codes
    latest = list(dict.fromkeys(reversed(history)))
    same = (codes[latest] == codes[item]) & (codes[item] >= 0)  # (history, levels)
    leading = np.cumprod(same, axis=1).sum(1)
    total = same.sum(1)
    order = np.lexsort((np.arange(len(latest)), -total, -leading))
    return [
        {"row": int(latest[i]), "shared": same[i].tolist()} for i in order[:most] if total[i] > 0
    ]
