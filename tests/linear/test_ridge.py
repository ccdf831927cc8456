"""Linear item-item models against answers by hand, and the scalable form against the exact one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from letterrec.data.sequences import Histories
from letterrec.linear.item_item import fit_ease, fit_slist
from letterrec.linear.moments import history_moments, prefix_moments, window_moments
from letterrec.linear.ridge import fit_ridge, keep_largest, solve_neighbourhoods, solve_ridge


def planted(n_groups: int = 12, size: int = 10, seed: int = 0) -> Histories:
    """Histories that each stay in a group of ten items and walk round it, mostly by one."""
    random = np.random.default_rng(seed)
    sequences = []
    for _ in range(40 * n_groups):
        group, at = random.integers(n_groups), random.integers(size)
        steps = random.choice([1, 1, 1, 2, 5], size=random.integers(3, 9)).cumsum()
        sequences.append((group * size + (at + steps) % size).tolist())
    return Histories.from_lists(sequences)


def by_definition(gram: np.ndarray, cross: np.ndarray, ridge: float) -> np.ndarray:
    """Each item's regression on all others, one at a time, in float64."""
    n = len(gram)
    weights = np.zeros((n, n))
    for item in range(n):
        others = np.arange(n) != item
        a = gram[np.ix_(others, others)].astype(np.float64) + ridge * np.eye(n - 1)
        weights[others, item] = np.linalg.solve(a, cross[others, item])
    return weights


def test_histories_count_an_item_once() -> None:
    gram = history_moments(Histories.from_lists([[0, 1, 1, 1], [1, 0], [2], []]), 3).toarray()
    assert gram.tolist() == [[2, 2, 0], [2, 2, 0], [0, 0, 1]]


def test_prefixes_and_futures_by_hand() -> None:
    """0 1 2 has two places: 0 -> 1 2 and 0 1 -> 2."""
    gram, cross = prefix_moments(Histories.from_lists([[0, 1, 2], [3]]), 4, decay=0.5, ahead=0.25)
    before = np.array([[1, 0, 0, 0], [0.5, 1, 0, 0]])
    after = np.array([[0, 1, 0.25, 0], [0, 0, 1, 0]])
    assert gram.toarray() == pytest.approx(before.T @ before)
    assert cross.toarray() == pytest.approx(before.T @ after)


def test_near_items_count_more_by_hand() -> None:
    """In windows of three, neighbours count two thirds, those with one between them a third."""
    gram, cross = window_moments(Histories.from_lists([[0, 1, 2, 3], [1]]), 4, 3, backwards=0.5)
    assert (3 * gram.toarray()).round(4).tolist() == [
        [3, 2, 1, 0],
        [2, 6, 2, 1],
        [1, 2, 3, 2],
        [0, 1, 2, 3],
    ]
    assert (3 * cross.toarray()).round(4).tolist() == [
        [0, 2, 1, 0],
        [1, 0, 2, 1],
        [0.5, 1, 0, 2],
        [0, 0.5, 1, 0],
    ]


def test_near_items_are_windows() -> None:
    """The sum over windows of what each holds, divided by their width, whatever the histories."""
    random = np.random.default_rng(0)
    history = random.integers(6, size=30)
    gram, _ = window_moments(Histories.from_lists([history.tolist()]), 6, 5, backwards=0.3)
    padded = np.concatenate([np.full(4, 6), history, np.full(4, 6)])
    windows = [np.bincount(padded[i : i + 5], minlength=7)[:6] for i in range(34)]
    assert gram.toarray() == pytest.approx(sum(np.outer(w, w) for w in windows) / 5, rel=1e-5)


def test_no_item_is_predicted_from_itself() -> None:
    histories = planted()
    gram, cross = prefix_moments(histories, 120, decay=0.8, ahead=0.5)
    shared = history_moments(histories, 120)
    for moments, targets in ((shared, [shared]), (gram, [cross, 2 * cross, gram])):
        found = solve_ridge(moments, targets, 20.0)
        for weights, target in zip(found, targets, strict=True):
            expected = by_definition(moments.toarray(), target.toarray(), 20.0)
            assert weights.dtype == np.float32
            assert weights == pytest.approx(expected, abs=1e-4)
            assert (weights.diagonal() == 0).all()


def test_blocks_make_no_difference() -> None:
    """Of more items than are worked on at a time, the last block smaller."""
    gram = history_moments(planted(n_groups=55), 550)
    (short,), (long,) = solve_ridge(gram, [gram], 5.0), solve_ridge(gram, [gram.copy()], 5.0)
    assert short == pytest.approx(long, abs=1e-4)
    (kept,) = fit_ridge(gram, [gram], ridge=5.0, kept=550)
    assert kept.toarray() == pytest.approx(short, abs=1e-6)


def test_neighbourhoods_that_hold_all_that_matters_are_exact() -> None:
    """Histories stay within groups of ten: nine others decide, and nine neighbours are enough."""
    histories = planted()
    shared = history_moments(histories, 120)
    group = np.arange(120) // 10
    for gram, cross in ((shared, shared), window_moments(histories, 120, 5, backwards=0.5)):
        targets = [cross, sp.csr_array(cross.T)]
        found = solve_neighbourhoods(gram, targets, 10.0, 9)
        kept = fit_ridge(gram, targets, ridge=10.0, exact=100)
        for exact, near, largest_of in zip(
            solve_ridge(gram, targets, 10.0), found, kept, strict=True
        ):
            assert (near.toarray()[group[:, None] != group] == 0).all()
            assert near.toarray() == pytest.approx(exact, abs=1e-4)
            assert largest_of.toarray() == pytest.approx(exact, abs=1e-4)


def test_few_neighbours_are_those_that_matter_most() -> None:
    histories = planted()
    gram = history_moments(histories, 120)
    (near,) = solve_neighbourhoods(gram, [gram], 10.0, 3)
    others = gram.toarray() - np.diag(gram.diagonal())
    for item in range(120):
        predictors = near.toarray()[:, item].nonzero()[0]
        assert len(predictors) == 3
        assert others[predictors, item].min() >= np.sort(others[:, item])[-3]


def test_order_decides_what_is_predicted() -> None:
    """Everyone walks round the group: what comes next is predicted first, unlike by EASE."""
    histories = planted()
    following = np.arange(120) // 10 * 10 + (np.arange(120) + 1) % 10
    ordered = fit_slist(histories, 120, ridge=10.0, ahead=0.0).toarray()
    assert (ordered.argmax(1) == following).mean() > 0.8
    shared = fit_ease(histories, 120, ridge=10.0).toarray()
    assert (shared.argmax(1) == following).mean() < 0.6


def test_keeps_the_largest_of_each_row() -> None:
    histories = planted()
    gram = history_moments(histories, 120)
    (exact,) = solve_ridge(gram, [gram], 10.0)
    kept = fit_ease(histories, 120, ridge=10.0, kept=5)
    assert np.diff(kept.indptr).max() == 5
    best = np.sort(exact, axis=1)[:, -5:]
    assert np.sort(kept.toarray(), axis=1)[:, -5:] == pytest.approx(best, abs=1e-5)
    ties = sp.csr_array(np.ones((1, 6), dtype=np.float32))
    assert keep_largest(ties, 2).indices.tolist() == [0, 1]


@pytest.mark.parametrize("sequences", [[], [[]], [[0]], [[0], [1]]])
def test_without_pairs_nothing_is_predicted(sequences: list[list[int]]) -> None:
    histories = Histories.from_lists(sequences)
    for weights in (fit_ease(histories, 2), fit_slist(histories, 2)):
        assert weights.shape == (2, 2)
        assert not weights.toarray().any()
