"""The planted data of `benchmarks/planted.py` have the answer that they say."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import letterrec

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import planted


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> letterrec.Dataset:
    log = tmp_path_factory.mktemp("planted")
    planted.write_planted(2000, log / "interactions.parquet")
    return letterrec.read(log)


def test_nearly_everything_is_kept(dataset: letterrec.Dataset) -> None:
    assert dataset.n_items > 1900
    assert dataset.n_users > 2100
    assert dataset.n_interactions / dataset.n_users == pytest.approx(12, abs=0.5)


def test_the_rule_finds_what_follows(dataset: letterrec.Dataset) -> None:
    assert planted.planted_recall(dataset) == pytest.approx(planted.STAYS, abs=0.03)


def test_neighbours_are_those_of_the_ring(dataset: letterrec.Dataset) -> None:
    rings = np.array(dataset.item_ids, dtype=np.int64) // planted.RING
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(rings.max() + 1, 16))
    near = (centres[rings] + 0.1 * draw.normal(size=(len(rings), 16))).astype(np.float32)
    assert planted.neighbours_found(near, dataset.item_ids) == 1
    anything = draw.normal(size=near.shape).astype(np.float32)
    assert planted.neighbours_found(anything, dataset.item_ids) < 0.1
