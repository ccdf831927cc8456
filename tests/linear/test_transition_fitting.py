"""How transitions are learned, and how strong they are chosen to be."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from letterrec.data.sequences import Histories
from letterrec.linear.moments import window_moments
from letterrec.linear.ridge import solve_ridge
from letterrec.linear.transition_fitting import (
    adopt_strengths,
    learn_transitions,
    similarity_of,
    tune_strengths,
)
from letterrec.linear.transitions import Transitions

HISTORIES = Histories.from_lists([[0, 1, 2, 3], [0, 1], [4], [], [1, 0]])


def test_learns_what_follows_near_and_less_what_came_before() -> None:
    """Against each item's regression on the others by definition, what is negative left out."""
    transitions, similar = learn_transitions(HISTORIES, 6, window=3, backwards=0.5, ridge=2.0)
    assert similar is None
    gram, cross = (m.toarray() for m in window_moments(HISTORIES, 6, 3, 0.5))
    expected = np.zeros((6, 6))
    for item in range(6):
        others = np.arange(6) != item
        regression = gram[np.ix_(others, others)] + 2 * np.eye(5)
        expected[others, item] = np.linalg.solve(regression, cross[others, item])
    assert expected.min() < 0
    assert transitions.table.toarray() == pytest.approx(expected.clip(min=0), abs=1e-5)
    assert transitions.table.toarray()[0, 1] > transitions.table.toarray()[1, 0]
    assert (transitions.table.data > 0).all()


def test_similarity_is_what_is_expected_without_data() -> None:
    """With like, the penalty is of the difference from it: as if solved with it at once."""
    content = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    similarity = similarity_of(content)
    transitions, similar = learn_transitions(HISTORIES, 6, similarity, ridge=2.0)
    assert similar is not None
    gram, cross = window_moments(HISTORIES, 6, 20, 0.5)
    for like in (0.1, 0.4):
        (expected,) = solve_ridge(gram, [sp.csr_array(cross + 2 * like * similarity)], 2.0)
        assert (expected < -0.01).any()
        found = transitions.with_like(similar, like)
        assert found.like == like
        close = np.abs(found.table.toarray() - expected.clip(min=0)) < 0.02 + (expected < 0.02)
        assert close.all()
    # Item 5 was never used: as a predictor it is what similarity says, whatever the data.
    assert similar.toarray()[5] == pytest.approx(similarity.toarray()[5], abs=1e-6)
    again = found.with_like(similar, 0.0)
    assert again.table.toarray() == pytest.approx(transitions.table.toarray(), abs=1e-6)


def test_large_catalogues_are_learned_in_neighbourhoods() -> None:
    """Histories each hold the ten items of one group, so that no others are needed."""
    random = np.random.default_rng(0)
    groups = random.integers(450, size=1000)
    histories = [(g * 10 + random.permutation(10)).tolist() for g in groups]
    transitions, _ = learn_transitions(
        Histories.from_lists(histories), 4500, ridge=5.0
    )  # more than 4,096
    gram, cross = window_moments(Histories.from_lists(histories), 4500, 20, 0.5)
    some = np.arange(200)
    (exact,) = solve_ridge(gram[some][:, some], [cross[some][:, some]], 5.0)
    assert transitions.table[some][:, some].toarray() == pytest.approx(exact.clip(0), abs=1e-4)
    assert transitions.table[some].nnz == transitions.table[some][:, some].nnz


def test_keeps_what_counts_most() -> None:
    often = [[0, i] for i in range(1, 301) for _ in range(1 + (i > 100))]
    content = np.eye(301, dtype=np.float32) + 0.1
    similarity = similarity_of(content)
    transitions, similar = learn_transitions(Histories.from_lists(often), 301, similarity)
    assert sorted(transitions.table[[0]].indices.tolist()) == list(range(101, 301))
    assert similar is not None
    assert np.diff(similar.indptr).max() <= 40


def test_the_strengths_that_score_best_are_chosen() -> None:
    similarity = similarity_of(np.eye(6, dtype=np.float32))
    transitions, similar = learn_transitions(HISTORIES, 6, similarity)

    def score(one: Transitions) -> float:
        away = (one.like - 0.2, one.seen, one.decay - 0.7, one.weight - 0.3)
        return -sum(map(abs, away))

    best = tune_strengths(transitions, score, similar)
    assert best.strength == {"like": 0.2, "seen": 0, "decay": 0.7, "weight": 0.3}
    assert tune_strengths(transitions, score).like == 0
    assert tune_strengths(transitions, lambda one: one.seen).seen == 1
    assert tune_strengths(transitions, lambda one: -one.weight).weight == 0


def test_strengths_chosen_for_others_are_taken_over() -> None:
    """Those of earlier versions' counts, whose ``like`` had another unit, as far as they go."""
    similarity = similarity_of(np.eye(6, dtype=np.float32))
    transitions, similar = learn_transitions(HISTORIES, 6, similarity)
    nothing = sp.csr_array((6, 6), dtype=np.float32)
    for like, taken in ((0.1, 0.1), (8.0, 0.4)):
        other = Transitions(nothing, seen=0.0, like=like, decay=0.85, weight=0.7)
        same = adopt_strengths(transitions, other, similar)
        assert same.strength == {"seen": 0, "like": taken, "decay": 0.85, "weight": 0.7}
        assert similar is not None
        expected = transitions.table.toarray() + taken * similar.toarray()
        assert same.table.toarray() == pytest.approx(expected, abs=1e-6)
    assert adopt_strengths(transitions, other).like == 0
