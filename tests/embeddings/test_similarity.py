"""Which items are similar: exactly in small catalogues, nearly in large ones."""

from __future__ import annotations

import numpy as np
import pytest

from letterrec.embeddings.similarity import (
    most_similar,
    nearest,
    nearest_others,
    similar_items,
    unit,
)

CONTENT = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)


def test_neighbours_are_the_nearest_others() -> None:
    rows, weights = similar_items(CONTENT, 0.1)
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


def test_large_catalogues_miss_few_neighbours() -> None:
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(100, 16)).repeat(40, 0)
    items = unit((centres + draw.normal(size=centres.shape)).astype(np.float32))  # (4000, 16)
    for wanted, found in (
        (nearest_others(items, 20), nearest_others(items, 20, exact=1000)),
        (nearest(items, items[:300], 5), nearest(items, items[:300], 5, exact=100)),
    ):
        same = [len(set(a) & set(b)) for a, b in zip(wanted[0], found[0], strict=True)]
        assert np.mean(same) > 0.9 * wanted[0].shape[1]
        assert found[1] == pytest.approx(
            np.einsum("nd,nkd->nk", items[: len(found[0])], items[found[0]]), abs=1e-5
        )


def test_large_catalogues_are_no_neighbours_of_themselves() -> None:
    items = np.repeat(unit(CONTENT), 30, axis=0)  # each 30 times: equal ones crowd an item out
    rows, _ = nearest_others(items, 20, exact=100)
    assert rows.shape == (9000, 20)
    assert (rows >= 0).all()
    assert (rows != np.arange(9000)[:, None]).all()


def test_two_items_are_alike() -> None:
    rows, weights = similar_items(CONTENT[:2], 0.1)
    assert rows.tolist() == [[1], [0]]
    assert weights.tolist() == [[1.0], [1.0]]
