"""Rankings compared as any machine may compute them: near scores may change places."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from torch import Tensor

Ranking = Sequence[tuple[object, float]]


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
