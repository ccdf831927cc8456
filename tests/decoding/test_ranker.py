"""Both kinds of ranker keep to the seam; a scorer's order is known by hand."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from contract_ranker import RankerContract
from letterrec.data.sequences import Histories
from letterrec.decoding.ranker import GenerativeRanker, Queries, Ranker, ScoringRanker
from letterrec.decoding.topk import best, best_log_probs
from letterrec.decoding.trie import Trie
from letterrec.identifiers.identifiers import Identifiers
from letterrec.recommenders.rqt.model import Rqt


class Distance:
    """Likes items near the latest one, the smaller first."""

    max_history = 3

    def scores(self, histories: Tensor) -> Tensor:
        last = (histories >= 0).sum(1, keepdim=True) - 1
        latest = histories.gather(1, last)
        return -(torch.arange(10) - latest).abs().float()


class TestScoring(RankerContract):
    def make(self) -> Ranker:
        return ScoringRanker(Distance(), torch.device("cpu"))


class TestGenerative(RankerContract):
    def make(self) -> Ranker:
        codes = np.stack([np.arange(10) // 4, np.arange(10) % 4], 1).astype(np.int32)
        identifiers = Identifiers(codes, (3, 4))
        torch.manual_seed(0)
        recommender = Rqt(identifiers, dim=8, heads=2, max_history=3).eval()
        with torch.no_grad():
            for parameter in recommender.parameters():  # far apart: no two scores are near
                parameter.add_(torch.randn(parameter.shape))
        return GenerativeRanker(recommender, Trie.build(identifiers), beam=10)


def test_the_highest_scores_come_first_and_ties_by_row() -> None:
    ranker = ScoringRanker(Distance(), torch.device("cpu"))
    items, scores = ranker.rank(Queries(Histories.from_lists([[9, 4]]), 4))
    assert items.tolist() == [[4, 3, 5, 2]]
    assert scores.tolist() == [[0.0, -1.0, -1.0, -2.0]]


def test_ties_go_to_the_lower_index_whatever_the_sign() -> None:
    scores = torch.tensor([[0.0, -2.0, 3.5, -2.0, 3.5, -torch.inf, torch.inf]])
    assert best(scores, 7).tolist() == [[6, 2, 4, 0, 1, 3, 5]]
    assert best(scores, 99).shape == (1, 7)
    logs = -torch.rand(5, 300).round(decimals=1) - 0.1
    assert torch.equal(best_log_probs(logs.clone(), 20), best(logs, 20))
