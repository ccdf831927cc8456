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
from torch import Tensor

from letterrec.baselines.factors import mean_items
from letterrec.baselines.popularity import Popularity
from letterrec.data.cold import ColdItems
from letterrec.data.dataset import Dataset
from letterrec.data.splits import HeldOut
from letterrec.decoding.ranker import GenerativeRanker, Ranker, ScoringRanker
from letterrec.decoding.trie import Trie
from letterrec.embeddings.similarity import unit
from letterrec.evaluation.metrics import Ranks, ranks_of, summarise
from letterrec.evaluation.ranking import rank_cases
from letterrec.identifiers.identifiers import Identifiers
from letterrec.linear.transitions import Transitions
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
    before = _ranks(ranker, warm_cases, dataset, "warm, before")

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
    neighbours = ScoringRanker(ContentNeighbours(content, recommender.max_history), device())
    popular = ScoringRanker(Popularity.of(popularity), device())
    targets = (cold.targets + dataset.n_items).astype(np.int32)
    cold_cases = HeldOut(np.arange(len(targets)), cold.histories, targets)

    def measured(cases: HeldOut, label: str) -> CaseMetrics:
        return {
            "cases": len(cases),
            "letterrec": summarise(_ranks(ranker, cases, dataset, label)),
            "content_knn": summarise(_ranks(neighbours, cases, dataset, f"{label}, content-kNN")),
            "popularity": summarise(_ranks(popular, cases, dataset, f"{label}, popularity")),
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


def _ranks(ranker: Ranker, cases: HeldOut, dataset: Dataset, label: str) -> Ranks:
    lists = rank_cases(
        ranker,
        cases,
        k=_CUT,
        batch_size=_ROWS,
        exclude_seen=True,
        seen_by=dataset.seen_by(),
        label=f"ranking ({label})",
    )
    return ranks_of(lists, cases.targets)


class ContentNeighbours:
    """Content-kNN: an item's score is its mean cosine with the latest items of the history.

    Args:
        content: float32 ``(n_items, d)`` content embeddings.
        max_history: how many of the latest items are read.
    """

    def __init__(self, content: NDArray[np.float32], max_history: int) -> None:
        self.max_history = max_history
        self._unit = torch.from_numpy(unit(content)).to(device())  # (n_items, d)

    def scores(self, histories: Tensor) -> Tensor:
        """float32 ``(n, n_items)`` for int64 ``(n, longest)`` histories, -1 padded."""
        return mean_items(self._unit, histories) @ self._unit.T
