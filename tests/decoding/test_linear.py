"""Linear item-item models against answers by hand, and the scalable form against the exact one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from letterrec.data.sequences import Histories
from letterrec.decoding.linear import (
    Moments,
    ease,
    fitted,
    largest,
    neighbourhoods,
    prefixes,
    slist,
    solved,
    whole,
)


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
    gram = whole(Histories.from_lists([[0, 1, 1, 1], [1, 0], [2], []]), 3).gram.toarray()
    assert gram.tolist() == [[2, 2, 0], [2, 2, 0], [0, 0, 1]]


def test_prefixes_and_futures_by_hand() -> None:
    """0 1 2 has two places: 0 -> 1 2 and 0 1 -> 2."""
    moments = prefixes(Histories.from_lists([[0, 1, 2], [3]]), 4, decay=0.5, ahead=0.25)
    before = np.array([[1, 0, 0, 0], [0.5, 1, 0, 0]])
    after = np.array([[0, 1, 0.25, 0], [0, 0, 1, 0]])
    assert moments.cross is not None
    assert moments.gram.toarray() == pytest.approx(before.T @ before)
    assert moments.cross.toarray() == pytest.approx(before.T @ after)


def test_no_item_is_predicted_from_itself() -> None:
    histories = planted()
    ordered = prefixes(histories, 120, decay=0.8, ahead=0.5)
    assert ordered.cross is not None
    symmetric = whole(histories, 120)
    for moments, cross in ((symmetric, symmetric.gram), (ordered, ordered.cross)):
        expected = by_definition(moments.gram.toarray(), cross.toarray(), 20.0)
        weights = solved(moments, 20.0)
        assert weights.dtype == np.float32
        assert weights == pytest.approx(expected, abs=1e-4)
        assert (weights.diagonal() == 0).all()


def test_blocks_make_no_difference() -> None:
    """Of more items than are worked on at a time, the last block smaller."""
    histories = planted(n_groups=55)
    symmetric = whole(histories, 550)
    as_cross = solved(Moments(symmetric.gram, symmetric.gram), 5.0)
    assert solved(symmetric, 5.0) == pytest.approx(as_cross, abs=1e-4)
    assert fitted(symmetric, ridge=5.0, kept=550).toarray() == pytest.approx(as_cross, abs=1e-4)


def test_neighbourhoods_that_hold_all_that_matters_are_exact() -> None:
    """Histories stay within groups of ten: nine others decide, and nine neighbours are enough."""
    histories = planted()
    for moments in (whole(histories, 120), prefixes(histories, 120, decay=0.8, ahead=0.5)):
        exact = solved(moments, 10.0)
        near = neighbourhoods(moments, 10.0, neighbours=9).toarray()
        group = np.arange(120) // 10
        assert (near[group[:, None] != group] == 0).all()
        assert near == pytest.approx(exact, abs=1e-4)
        assert fitted(moments, ridge=10.0, exact=100).toarray() == pytest.approx(exact, abs=1e-4)


def test_order_decides_what_is_predicted() -> None:
    """Everyone walks round the group: what comes next is predicted first, unlike by EASE."""
    histories = planted()
    following = np.arange(120) // 10 * 10 + (np.arange(120) + 1) % 10
    ordered = slist(histories, 120, ridge=10.0, ahead=0.0).toarray()
    assert (ordered.argmax(1) == following).mean() > 0.8
    shared = ease(histories, 120, ridge=10.0).toarray()
    assert (shared.argmax(1) == following).mean() < 0.6


def test_keeps_the_largest_of_each_row() -> None:
    histories = planted()
    exact = solved(whole(histories, 120), 10.0)
    kept = ease(histories, 120, ridge=10.0, kept=5)
    assert np.diff(kept.indptr).max() == 5
    best = np.sort(exact, axis=1)[:, -5:]
    assert np.sort(kept.toarray(), axis=1)[:, -5:] == pytest.approx(best, abs=1e-5)
    ties = sp.csr_array(np.ones((1, 6), dtype=np.float32))
    assert largest(ties, 2).indices.tolist() == [0, 1]


@pytest.mark.parametrize("sequences", [[], [[]], [[0]], [[0], [1]]])
def test_without_pairs_nothing_is_predicted(sequences: list[list[int]]) -> None:
    histories = Histories.from_lists(sequences)
    for weights in (ease(histories, 2), slist(histories, 2)):
        assert weights.shape == (2, 2)
        assert not weights.toarray().any()
