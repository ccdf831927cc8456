"""The paper's protocol: full ranking of the held-out interactions by constrained beam search.

Knows how lists become metrics over users. Leaves the formulas to `metrics`, the lists to
`decoding`, and what a run's report looks like to `report`.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from letterrec.data.dataset import Dataset, HeldOut, Split
from letterrec.decoding.beam_search import search
from letterrec.decoding.transitions import Transitions, recalled
from letterrec.decoding.trie import Trie
from letterrec.evaluation.metrics import CUTS, Ranks, ranks_of, summarise
from letterrec.identifiers.collisions import group
from letterrec.identifiers.identifiers import Identifiers
from letterrec.progress import counting
from letterrec.recommenders import Recommender
from letterrec.training import distributed
from letterrec.training.loop import device

Lists = NDArray[np.int64]


def recommend_rows(
    recommender: Recommender,
    trie: Trie,
    cases: HeldOut,
    *,
    beam: int,
    k: int,
    batch_size: int,
    transitions: Transitions | None = None,
    exclude_seen: bool = False,
    label: str | None = None,
) -> Lists:
    """The ``k`` best items for each history, seen items included unless excluded.

    Processes that work together share the histories; all get all lists.

    Returns:
        int64 ``(n_cases, k)`` item rows, best first, ``-1`` where fewer exist.
    """
    lists = np.full((len(cases), k), -1, dtype=np.int64)
    histories = cases.histories.latest(recommender.max_history)
    order = np.argsort(histories.lengths, kind="stable")  # batches of equal lengths pad little
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    with counting(label or "", len(cases) if label else 0) as counter:
        for first in range(0, len(batches), distributed.count()):
            # In lockstep: where batches run out, a process ranks the last one for nothing.
            mine = first + distributed.rank()
            rows = batches[min(mine, len(batches) - 1)]
            batch = torch.from_numpy(histories.take(rows).padded()).to(device())
            whole = torch.from_numpy(cases.histories.take(rows).padded())
            items, _ = search(
                recommender.encode(batch),
                trie,
                beam=beam,
                k=k,
                seen=whole.to(device()) if exclude_seen else None,
                recalled=recalled(transitions, batch, whole),
            )
            if mine < len(batches):
                lists[rows] = items.cpu().numpy()
            if label:
                counter.advance(sum(map(len, batches[first : first + distributed.count()])))
    distributed.keep_largest(torch.from_numpy(lists))  # -1 where another process has ranked
    return lists


def evaluate_split(
    recommender: Recommender,
    trie: Trie,
    dataset: Dataset,
    identifiers: Identifiers,
    *,
    split: Split,
    beam: int,
    batch_size: int = 256,
    transitions: Transitions | None = None,
    exclude_seen: bool = False,
) -> tuple[dict[str, Any], Ranks]:
    """Metrics of a split over all its users, each counted once, and the ranks behind them.

    Seen items compete as well, as papers count; with ``exclude_seen`` lists are those that a
    service gives.

    Returns:
        ``split``, ``users``, ``beam``, ``exclude_seen``, ``metrics``, ``seconds`` and
        ``users_per_second``; where identifiers are shared by several items also
        ``identifier_metrics``, which score the identifier instead of the item, as published code
        does.

        Ranks, int64 ``(n_cases,)``: of each target of `Dataset.held_out`, in its order, -1 beyond
        the largest cut of the metrics.
    """
    cases = dataset.held_out(split)
    width = max(CUTS)
    started = time.perf_counter()
    k = max(width, beam)
    lists = recommend_rows(
        recommender,
        trie,
        cases,
        beam=beam,
        k=k,
        batch_size=batch_size,
        transitions=transitions,
        exclude_seen=exclude_seen,
        label=f"ranking ({split})",
    )
    seconds = time.perf_counter() - started
    ranks = ranks_of(lists[:, :width], cases.targets)
    result = result_of(split, ranks, seconds) | {"beam": beam, "exclude_seen": exclude_seen}
    group_of, counts = group(identifiers.codes)
    if len(counts) < identifiers.n_items:
        result["identifier_metrics"] = summarise(_identifier_ranks(lists, cases.targets, group_of))
    return result, ranks


def result_of(split: Split, ranks: Ranks, seconds: float) -> dict[str, Any]:
    """What is said of a split whose targets have these ranks, int64 ``(n_cases,)``."""
    return {
        "split": split,
        "users": len(ranks),
        "metrics": summarise(ranks),
        "seconds": seconds,
        "users_per_second": len(ranks) / max(seconds, 1e-9),
    }


def popularity_ranks(dataset: Dataset, split: Split) -> Ranks:
    """Ranks of the targets where everyone gets the items most frequent in training."""
    cases = dataset.held_out(split)
    top = np.argsort(-dataset.popularity, kind="stable")[: max(CUTS)]
    return ranks_of(np.tile(top, (len(cases), 1)), cases.targets)


def popularity_metrics(dataset: Dataset, split: Split) -> dict[str, float]:
    """Metrics of recommending everyone the items most frequent in training."""
    return summarise(popularity_ranks(dataset, split))


def returning_share(cases: HeldOut) -> float:
    """The share of targets that are in the history before them; 0 where there are no cases.

    >>> from letterrec.data import Histories
    >>> histories = Histories.from_lists([[3, 1], [], [2, 2]])
    >>> targets = np.array([1, 1, 3], dtype=np.int32)
    >>> round(returning_share(HeldOut(np.arange(3), histories, targets)), 2)
    0.33
    """
    if not len(cases):
        return 0.0
    case = np.repeat(np.arange(len(cases)), cases.histories.lengths)
    had = cases.histories.items == cases.targets[case]
    return float(np.bincount(case[had], minlength=len(cases)).astype(bool).mean())


def sample_cases(cases: HeldOut, n: int, seed: int) -> HeldOut:
    """At most ``n`` cases, the same for the same seed."""
    if len(cases) <= n:
        return cases
    rows = np.random.default_rng(seed).choice(len(cases), n, replace=False)
    return cases.take(np.sort(rows))


def _identifier_ranks(
    lists: Lists, targets: NDArray[np.int32], group_of: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rank of the target's identifier among the distinct identifiers of each list."""
    groups = np.where(lists >= 0, group_of[lists], -1)
    is_first = np.ones_like(groups, dtype=bool)
    is_first[:, 1:] = groups[:, 1:] != groups[:, :-1]  # items of one identifier are neighbours
    position = np.cumsum(is_first, axis=1) - 1
    hit = groups == group_of[targets][:, None]
    ranks = np.where(hit.any(1), np.take_along_axis(position, hit.argmax(1)[:, None], 1)[:, 0], -1)
    return ranks.astype(np.int64)
