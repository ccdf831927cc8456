"""The metrics against hand-computed values and against ir-measures."""

from __future__ import annotations

import numpy as np
import pytest

from letterrec.evaluation.metrics import ranks_of, summarise


def test_summary_of_hand_computed_ranks() -> None:
    ranks = np.array([0, 4, 5, -1])
    table = summarise(ranks)
    assert table["recall@5"] == 0.5
    assert table["recall@10"] == 0.75
    assert table["ndcg@5"] == pytest.approx((1 + 1 / np.log2(6)) / 4)
    assert table["ndcg@10"] == pytest.approx((1 + 1 / np.log2(6) + 1 / np.log2(7)) / 4)


def test_no_users_is_zero_not_an_error() -> None:
    assert set(summarise(np.zeros(0, dtype=np.int64)).values()) == {0.0}


def test_against_ir_measures() -> None:
    ir_measures = pytest.importorskip("ir_measures")
    random = np.random.default_rng(3)
    lists = np.stack([random.permutation(40)[:10] for _ in range(200)])
    targets = random.integers(0, 40, size=200)
    qrels = [ir_measures.Qrel(str(u), str(t), 1) for u, t in enumerate(targets)]
    run = [
        ir_measures.ScoredDoc(str(u), str(i), 10.0 - rank)
        for u, line in enumerate(lists)
        for rank, i in enumerate(line)
    ]
    measures = {
        "recall@5": ir_measures.R @ 5,
        "recall@10": ir_measures.R @ 10,
        "ndcg@5": ir_measures.nDCG @ 5,
        "ndcg@10": ir_measures.nDCG @ 10,
    }
    oracle = ir_measures.calc_aggregate(list(measures.values()), qrels, run)
    ours = summarise(ranks_of(lists, targets))
    for name, measure in measures.items():
        assert ours[name] == pytest.approx(oracle[measure]), name
