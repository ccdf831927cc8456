"""Ranked lists for held-out cases, from any ranker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from letterrec.data.splits import HeldOut
from letterrec.decoding.ranker import Queries, Ranker
from letterrec.progress import counting
from letterrec.training import distributed, rehearsal

Lists = NDArray[np.int64]


def rank_cases(
    ranker: Ranker,
    cases: HeldOut,
    *,
    k: int,
    batch_size: int,
    beam: int | None = None,
    exclude_seen: bool = False,
    instructions: Sequence[str | None] = (),
    seen_by: NDArray[np.bool_] | None = None,
    label: str | None = None,
    allowed: NDArray[np.bool_] | None = None,
    behaviour: int = -1,
) -> Lists:
    """The ``k`` best items for each case, seen items included unless excluded.

    Processes that work together share the cases; all get all lists.

    Args:
        ranker: ranks them.
        cases: histories; the targets are not looked at.
        k: items per list.
        batch_size: histories ranked at a time.
        beam: prefixes kept per level, of a ranker that searches; None takes the ranker's own.
        exclude_seen: leave out the items of the history.
        instructions: of each case, for a ranker that follows them; none: of no case.
        seen_by: of `Queries`.
        label: of the progress bar; None shows none.
        allowed: bool ``(n_items,)``: the items that may come back; None: all.
        behaviour: row of the one that is asked for; -1: those that the ranker predicts.

    Returns:
        int64 ``(n_cases, k)`` item rows, best first, ``-1`` where fewer exist.
    """
    lists = np.full((len(cases), k), -1, dtype=np.int64)
    among = None if allowed is None else torch.from_numpy(allowed)
    read = np.minimum(cases.histories.lengths, ranker.max_history)
    order = np.argsort(read, kind="stable")  # batches of equal lengths pad little
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    with counting(label or "", len(cases) if label else 0) as counter:
        for first in rehearsal.some(range(0, len(batches), distributed.count())):
            # All processes stay in step: one without a batch repeats the last one, and its lists
            # are dropped.
            mine = first + distributed.rank()
            rows = batches[min(mine, len(batches) - 1)]
            histories = cases.histories.take(rows)
            users = cases.users[rows]
            wishes = [instructions[row] for row in rows] if instructions else ()
            queries = Queries(
                histories,
                k,
                exclude_seen,
                among,
                beam=beam,
                instructions=wishes,
                users=users,
                behaviours=None if behaviour < 0 else np.full(len(rows), behaviour),
                seen_by=seen_by,
            )
            items = ranker.rank(queries).items
            if mine < len(batches):
                lists[rows] = items.cpu().numpy()
            if label:
                counter.advance(sum(map(len, batches[first : first + distributed.count()])))
    distributed.keep_largest(torch.from_numpy(lists))  # -1 where another process has ranked
    return lists
