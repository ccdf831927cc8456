"""Cold start, measured: held-out items are added by their text alone, and all items are ranked.

The held-out items (`data.cold`) get content embeddings and identifiers from their text, as items
that are added to a served catalogue do. The whole catalogue, old and new, is ranked for cases whose
target is new (cold) and for the ordinary test cases (warm). Seen items are left out for every
method: content-kNN would otherwise find the history itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from letterrec.data.cold import ColdItems
from letterrec.data.dataset import Dataset
from letterrec.data.splits import HeldOut
from letterrec.decoding.ranker import GenerativeRanker, Ranker
from letterrec.decoding.transitions import Transitions
from letterrec.decoding.trie import Trie
from letterrec.evaluation.metrics import Ranks, ranks_of, summarise
from letterrec.evaluation.protocol import rank_cases
from letterrec.identifiers.identifiers import Identifiers
from letterrec.recommenders import Recommender
from letterrec.tokenizers import Items, Tokenizer
from letterrec.tokenizers.new_items import assign_new
from letterrec.training.devices import device

_CUT = 10
_ROWS = 512  # cases that are ranked at a time


class CaseMetrics(TypedDict):
    """Metrics of three methods on the grown catalogue, and Recall@10 of a random list
    (``chance``).
    """

    cases: int
    letterrec: dict[str, float]
    content_knn: dict[str, float]
    popularity: dict[str, float]
    chance: float


class ColdMetrics(TypedDict):
    """What `evaluate_cold` gives.

    ``warm_before`` has the metrics of ``letterrec`` before the new items were there.
    """

    items: int
    cold_items: int
    beam: int
    warm_before: dict[str, float]
    cold: CaseMetrics
    warm: CaseMetrics


def evaluate_cold(
    dataset: Dataset,
    cold: ColdItems,
    recommender: Recommender,
    identifiers: Identifiers,
    transitions: Transitions | None,
    *,
    tokenizer: Tokenizer,
    known: Items,
    new_content: NDArray[np.float32],
    beam: int,
) -> ColdMetrics:
    """Metrics on held-out items that were added by text, and on the others.

    Args:
        dataset: what was trained on.
        cold: the items that were held out of it, and the cases that ask for them.
        recommender: trained; it goes on with the grown catalogue.
        identifiers: of the items trained on.
        transitions: of the items trained on, if any.
        tokenizer: fitted to the items trained on.
        known: content and CF embeddings of the items trained on.
        new_content: float32 ``(n_cold, d_content)`` of the held-out items.
        beam: prefixes kept per level.
    """
    popularity = np.append(dataset.popularity, np.zeros(len(new_content), np.int64))
    trie = Trie.build(identifiers, dataset.popularity).to(device())
    ranker = GenerativeRanker(recommender, trie, transitions, beam)
    warm_cases = dataset.held_out("test")
    before = _ranks(ranker, warm_cases, "warm, before")

    codes = assign_new(tokenizer, known, new_content, identifiers.codes)
    grown = replace(identifiers, codes=np.concatenate([identifiers.codes, codes]))
    content = np.concatenate([known.content, new_content])
    recommender.set_catalogue(grown, torch.from_numpy(content))
    ranker = GenerativeRanker(
        recommender,
        Trie.build(grown, popularity).to(device()),
        None if transitions is None else transitions.grown(known.content, new_content),
        beam,
    )
    targets = (cold.targets + dataset.n_items).astype(np.int32)
    cold_cases = HeldOut(np.arange(len(targets)), cold.histories, targets)

    def measured(cases: HeldOut, label: str) -> CaseMetrics:
        neighbours = _neighbour_ranks(content, cases, recommender.max_history)
        return {
            "cases": len(cases),
            "letterrec": summarise(_ranks(ranker, cases, label)),
            "content_knn": summarise(neighbours),
            "popularity": summarise(_popularity_ranks(popularity, cases)),
            "chance": _CUT / len(content),
        }

    return {
        "items": len(content),
        "cold_items": len(codes),
        "beam": beam,
        "warm_before": summarise(before),
        "cold": measured(cold_cases, "cold"),
        "warm": measured(warm_cases, "warm"),
    }


def _ranks(ranker: Ranker, cases: HeldOut, label: str) -> Ranks:
    lists = rank_cases(
        ranker, cases, k=_CUT, batch_size=_ROWS, exclude_seen=True, label=f"ranking ({label})"
    )
    return ranks_of(lists, cases.targets)


def _neighbour_ranks(
    content: NDArray[np.float32], cases: HeldOut, max_history: int
) -> NDArray[np.int64]:
    """Content-kNN: an item's score is its mean cosine with the latest items of the history."""
    norms = np.linalg.norm(content, axis=1, keepdims=True)
    unit = content / np.where(norms > 0, norms, 1)  # (n_items, d)
    lists = np.full((len(cases), _CUT), -1, dtype=np.int64)
    recent = cases.histories.latest(max_history)
    for start in range(0, len(cases), _ROWS):
        stop = min(start + _ROWS, len(cases))
        profiles = np.stack([unit[recent[i]].sum(0) for i in range(start, stop)])
        scores = profiles @ unit.T  # (rows, n_items)
        for i, line in enumerate(scores, start=start):
            line[cases.histories[i]] = -np.inf
        best = np.argpartition(-scores, _CUT - 1, axis=1)[:, :_CUT]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        lists[start:stop] = np.take_along_axis(best, order, 1)
    return ranks_of(lists, cases.targets)


def _popularity_ranks(popularity: NDArray[np.int64], cases: HeldOut) -> Ranks:
    """Popularity, without what each has seen; a new item has none and comes last."""
    order = np.argsort(-popularity, kind="stable")
    longest = int(cases.histories.lengths.max(initial=0))
    top = order[: _CUT + longest]
    lists = np.full((len(cases), _CUT), -1, dtype=np.int64)
    for i, history in enumerate(cases.histories):
        unseen = top[~np.isin(top, history)][:_CUT]
        lists[i, : len(unseen)] = unseen
    return ranks_of(lists, cases.targets)
