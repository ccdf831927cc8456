"""Rankings, measured and compared as any machine may compute them: near scores may swap places."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from letterrec.data.splits import HeldOut
from letterrec.decoding.ranker import Scorer, ScoringRanker
from letterrec.evaluation.metrics import ranks_of, summarise
from letterrec.evaluation.ranking import rank_cases

Ranking = Sequence[tuple[object, float]]


def metrics_of(model: Scorer, cases: HeldOut, batch_size: int = 512) -> dict[str, float]:
    """Recall and NDCG of a model that scores all items."""
    ranker = ScoringRanker(model, torch.device("cpu"))
    lists = rank_cases(ranker, cases, k=10, batch_size=batch_size)
    return summarise(ranks_of(lists, cases.targets))


def assert_same_ranking(found: Ranking, expected: Ranking, atol: float = 1e-4) -> None:
    """Two lists of item and score, best first, are equal but for rounding.

    Batches of other shapes, other threads and other processors add numbers up in another order.
    So scores are equal to ``atol``, and only items whose scores are as near as that may change
    places, with each other or over the end of the list.
    """
    scores = [score for _, score in found]
    assert scores == pytest.approx([score for _, score in expected], rel=0, abs=atol)
    for one, other in ((found, dict(expected)), (expected, dict(found))):
        for item, score in one:
            assert score == pytest.approx(other.get(item, one[-1][1]), rel=0, abs=atol), item


def assert_same_rankings(
    found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], atol: float = 1e-4
) -> None:
    """The same of item rows and scores, both ``(n, k)``, as `decoding.search` gives them."""
    for lines in zip(*found, *expected, strict=True):
        items, scores, other_items, other_scores = (line.tolist() for line in lines)
        pairs = list(zip(items, scores, strict=True))
        assert_same_ranking(pairs, list(zip(other_items, other_scores, strict=True)), atol)
