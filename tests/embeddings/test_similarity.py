"""Which items are similar: exactly in small catalogues, in a window of an order in large ones."""

from __future__ import annotations

import numpy as np
import pytest

from letterrec.embeddings import similarity
from letterrec.embeddings.similarity import most_similar, similar_items, unit

CONTENT = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)


def test_neighbours_are_the_nearest_others() -> None:
    rows, weights = similar_items(CONTENT, np.random.default_rng(1).permutation(300), 0.1)
    assert rows.shape == weights.shape == (300, 20)
    cosines = unit(CONTENT) @ unit(CONTENT).T
    np.fill_diagonal(cosines, -np.inf)
    for item in range(300):
        assert set(rows[item]) == set(np.argsort(-cosines[item])[:20])
        expected = np.exp(cosines[item, rows[item]] / 0.1)
        assert weights[item] == pytest.approx(expected / expected.sum(), rel=1e-3)


def test_new_items_are_compared_with_all() -> None:
    rows, weights = most_similar(CONTENT, CONTENT[:5] * 3, 0.1)
    assert (rows[np.arange(5), weights.argmax(1)] == np.arange(5)).all()
    assert weights.sum(1) == pytest.approx(np.ones(5))


def test_large_catalogues_look_near_in_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_EXACT", 100), ("_BLOCK", 16), ("_WINDOW", 30)):
        monkeypatch.setattr(similarity, name, value)
    order = np.argsort(CONTENT[:, 0])
    rows, _ = similar_items(CONTENT, order, 0.1)
    place = np.argsort(order)
    assert (np.abs(place[rows] - place[:, None]) <= 30 + 15).all()
    assert (rows != np.arange(300)[:, None]).all()


def test_two_items_are_alike() -> None:
    rows, weights = similar_items(CONTENT[:2], np.array([1, 0]), 0.1)
    assert rows.tolist() == [[1], [0]]
    assert weights.tolist() == [[1.0], [1.0]]
