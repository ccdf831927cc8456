"""Which cases are ranked where there are several behaviours, and their metrics apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from letterrec.baselines.popularity import Popularity
from letterrec.data import Dataset, Histories
from letterrec.decoding.ranker import Queries, Ranking, ScoringRanker
from letterrec.evaluation.cases import measured_cases
from letterrec.evaluation.protocol import evaluate_split

BUY, VIEW = 0, 1


def shop() -> Dataset:
    """What two people bought (b) and viewed (v): b0 v1 b2 v3 b1 v0 v2, and v2 b3 v1 b0 b2."""
    items = np.array([0, 1, 2, 3, 1, 0, 2, *(2, 3, 1, 0, 2)], dtype=np.int32)
    kinds = np.array([0, 1, 0, 1, 0, 1, 1, *(1, 0, 1, 0, 0)], dtype=np.int8)
    return Dataset(
        name="shop",
        user_ids=("x", "y"),
        item_ids=tuple("abcd"),
        interactions=Histories(np.array([0, 7, 12]), items, kinds),
        titles=tuple("ABCD"),
        behaviours=("buy", "view"),
        targets=(BUY,),
    )


@pytest.mark.parametrize(
    ("split", "behaviour", "expected"),
    [
        ("valid", -1, [(0, 2, 2), (1, 0, 3)]),  # user, target, items before it
        ("test", -1, [(0, 1, 4), (1, 2, 4)]),
        ("test", BUY, [(0, 1, 4), (1, 2, 4)]),
        ("valid", VIEW, [(0, 3, 3)]),  # between the last two buys
        ("test", VIEW, [(0, 0, 5)]),  # the first after the last buy
    ],
)
def test_of_each_user_the_first_of_the_behaviour_is_asked_for(
    split: str, behaviour: int, expected: list[tuple[int, int, int]]
) -> None:
    cases = measured_cases(shop(), "test" if split == "test" else "valid", behaviour=behaviour)
    lengths = cases.histories.lengths
    assert list(zip(cases.users, cases.targets, lengths, strict=True)) == expected
    assert cases.behaviours is not None
    assert set(cases.behaviours) == {max(behaviour, BUY)}


class Asked:
    """A ranker by popularity that keeps which behaviours it is asked for."""

    max_history = 1

    def __init__(self) -> None:
        model = Popularity.of(np.array([4, 3, 2, 1]))
        self._ranker = ScoringRanker(model, torch.device("cpu"))
        self.behaviours: list[list[int] | None] = []

    def rank(self, queries: Queries) -> Ranking:
        asked = queries.behaviours
        self.behaviours.append(None if asked is None else asked.tolist())
        return self._ranker.rank(queries)


def test_metrics_by_the_behaviour_of_the_target() -> None:
    dataset = replace(shop(), targets=())  # all: the test targets are a view of c, and a buy of it
    ranker = Asked()
    found = evaluate_split(ranker, dataset, "test").metrics
    assert {name: part["users"] for name, part in found["behaviours"].items()} == {
        "buy": 1,
        "view": 1,
    }
    of_each = [part["metrics"]["ndcg@5"] for part in found["behaviours"].values()]
    assert np.mean(of_each) == pytest.approx(found["metrics"]["ndcg@5"])
    assert ranker.behaviours == [None]

    alone = evaluate_split(ranker, dataset, "test", behaviour=VIEW).metrics
    assert (alone["behaviour"], alone["users"]) == ("view", 1)
    assert "behaviours" not in alone
    assert ranker.behaviours[-1] == [VIEW]


def test_of_one_target_nothing_is_told_apart() -> None:
    ranker = Asked()
    assert "behaviours" not in evaluate_split(ranker, shop(), "test").metrics
    plain = replace(
        shop(), behaviours=(), targets=(), interactions=Histories.from_lists([[0, 1, 2]])
    )
    assert not {"behaviours", "behaviour"} & set(evaluate_split(ranker, plain, "test").metrics)
