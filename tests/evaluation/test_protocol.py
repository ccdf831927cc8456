"""Evaluation: every user once, item-level beside identifier-level metrics, popularity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import letterrec
from letterrec.data import Histories
from letterrec.data.dataset import Dataset
from letterrec.decoding.ranker import GenerativeRanker
from letterrec.decoding.trie import Trie
from letterrec.evaluation.metrics import ranks_of, summarise
from letterrec.evaluation.protocol import evaluate_split, popularity_metrics
from letterrec.evaluation.ranking import rank_cases
from letterrec.identifiers.identifiers import Identifiers
from letterrec.recommenders.rqt.model import Rqt
from ranking import assert_same_ranking


def tiny() -> Dataset:
    sequences = [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2], [0, 1]]
    return Dataset(
        name="tiny",
        user_ids=tuple("vwxyz"),
        item_ids=tuple("abcd"),
        interactions=Histories.from_lists(sequences),
        titles=tuple("ABCD"),
    )


def test_each_user_with_three_interactions_counts_once() -> None:
    dataset = tiny()
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.int32)
    identifiers = Identifiers(codes, (2, 2))
    ranker = GenerativeRanker(Rqt(identifiers, dim=8, heads=2).eval(), Trie.build(identifiers))
    result, ranks, cases = evaluate_split(
        ranker, dataset, "test", beam=4, batch_size=3, identifiers=identifiers
    )
    assert result["users"] == 4
    assert result["metrics"]["recall@5"] == 1.0  # four items: all are ranked
    assert 0.25 <= result["metrics"]["ndcg@5"] <= 1.0
    assert "identifier_metrics" not in result
    assert ranks.shape == (4,)
    assert cases.targets.tolist() == [3, 0, 1, 2]
    assert summarise(ranks) == result["metrics"]


def test_shared_identifiers_are_scored_both_ways() -> None:
    dataset = tiny()
    codes = np.array([[0, 0], [0, 0], [1, 0], [1, 0]], dtype=np.int32)
    identifiers = Identifiers(codes, (2, 2))
    trie = Trie.build(identifiers, dataset.popularity)
    ranker = GenerativeRanker(Rqt(identifiers, dim=8, heads=2).eval(), trie)
    result = evaluate_split(ranker, dataset, "test", beam=4, identifiers=identifiers).metrics
    # An identifier found is at least as good a rank as the item behind it.
    assert result["identifier_metrics"]["ndcg@5"] > result["metrics"]["ndcg@5"]


def test_popularity_by_hand() -> None:
    # Training: [0 1], [1 2], [2 3], [3 0], [0 1] (too short to hold anything out): 0 and 1 three
    # times, then 2 and 3 twice; test targets 3, 0, 1, 2.
    dataset = tiny()
    metrics = popularity_metrics(dataset, dataset.held_out("test"))
    assert metrics["recall@5"] == 1.0
    gains = [1 / np.log2(5), 1.0, 1 / np.log2(3), 0.5]
    assert metrics["ndcg@5"] == pytest.approx(float(np.mean(gains)))


def test_a_run_beats_popularity_on_a_shop_with_a_rule(shop_run: Path) -> None:
    result = letterrec.evaluate(shop_run, split="test")
    dataset = letterrec.load(shop_run).dataset
    popularity = popularity_metrics(dataset, dataset.held_out("test"))
    assert result["metrics"]["recall@10"] > 1.5 * popularity["recall@10"]


def test_without_seen_items_lists_are_those_that_a_service_gives(shop_run: Path) -> None:
    engine = letterrec.load(shop_run)
    cases = engine.dataset.held_out("test")
    lists = rank_cases(engine.ranker, cases, k=10, batch_size=256, beam=20, exclude_seen=True)
    ids = engine.dataset.item_ids
    served = engine.recommend([[ids[i] for i in history] for history in cases.histories], beam=20)
    for line, answer in zip(lists, served, strict=True):
        scores, last = dict(answer), answer[-1][1]
        assert_same_ranking([(ids[i], scores.get(ids[i], last)) for i in line], answer)
    result = letterrec.evaluate(shop_run, beam=20, exclude_seen=True)
    assert result["exclude_seen"]
    assert result["metrics"] == summarise(ranks_of(lists, cases.targets))
    assert not letterrec.evaluate(shop_run)["exclude_seen"]
