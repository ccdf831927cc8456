"""Diagnostics of identifiers, by hand and on published files."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from letterrec.errors import IdentifierError
from letterrec.identifiers import diagnostics
from letterrec.identifiers.diagnostics import (
    cf_overlap,
    cf_overlap_any,
    collision_rate,
    diagnose,
    random_overlap_any,
)
from letterrec.identifiers.identifiers import Identifiers, parse_tokens

CODES = np.array([[1, 2, 0], [1, 3, 255], [0, 2, 7]], dtype=np.int32)


def test_diagnose_by_hand():
    codes = np.array([[0, 0], [0, 1], [1, 0], [2, 0]], dtype=np.int32)
    before = np.array([[0, 0], [0, 0], [1, 0], [2, 0]], dtype=np.int32)
    cf = np.array([[1, 0], [2, 0], [0, 3], [0.1, 1]], dtype=np.float32)
    assert diagnose(Identifiers(codes, (4, 2)), before, cf) == {
        "levels": [
            {"codes_used": 3, "entropy": 1.5, "largest_share": 0.5},
            {"codes_used": 2, "entropy": pytest.approx(0.811278), "largest_share": 0.75},
        ],
        "collision_rate": {"before": 0.25, "after": 0.0},
        "cf_overlap": 0.5,  # 1/2 in each of the two pairs
        "cf_overlap_any": 1.0,
        "random_overlap_any": pytest.approx(4 / 6, abs=0.15),  # four of the six pairs
    }


def test_diagnose_without_cf_and_before():
    report = diagnose(Identifiers(np.array([[1], [1]], dtype=np.int32), (4,)))
    assert report["cf_overlap"] is None
    assert report["cf_overlap_any"] is None
    assert report["collision_rate"] == {"before": 0.5, "after": 0.5}
    json.dumps(report)


def test_cf_overlap_does_not_depend_on_blocks_or_scale(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(0)
    codes = random.integers(0, 4, (300, 3), dtype=np.int32)
    cf = random.normal(size=(300, 8)).astype(np.float32)
    unit = cf / np.linalg.norm(cf, axis=1, keepdims=True)
    cosines = unit @ unit.T - 2 * np.eye(300)
    expected = float((codes == codes[cosines.argmax(1)]).mean())
    assert cf_overlap(codes, cf) == pytest.approx(expected)
    any_expected = float((codes == codes[cosines.argmax(1)]).any(1).mean())
    assert cf_overlap_any(codes, cf) == pytest.approx(any_expected)
    monkeypatch.setattr("letterrec.identifiers.diagnostics._COSINES", 1000)
    assert cf_overlap(codes, 10 * cf) == pytest.approx(expected)


def test_cf_overlap_refuses_other_items():
    with pytest.raises(IdentifierError, match="2 CF embeddings for 3 identifiers"):
        cf_overlap(CODES, np.ones((2, 4), dtype=np.float32))


def test_an_item_without_cf_and_one_item_alone_are_fine():
    assert cf_overlap(CODES[:1], np.ones((1, 4), dtype=np.float32)) == 0.0
    assert random_overlap_any(CODES[:1]) == 0.0
    assert cf_overlap(CODES, np.zeros((3, 4), dtype=np.float32)) >= 0.0


def test_random_pairs_share_what_chance_makes_them_share():
    random = np.random.default_rng(0)
    codes = random.integers(0, 8, (2000, 3), dtype=np.int32)
    assert random_overlap_any(codes) == pytest.approx(1 - (7 / 8) ** 3, abs=0.01)
    assert random_overlap_any(np.zeros((50, 2), dtype=np.int32)) == 1.0


def test_the_end_of_a_shorter_identifier_is_no_shared_code():
    codes = np.array([[1, -1], [2, -1]], dtype=np.int32)
    cf = np.ones((2, 4), dtype=np.float32)
    assert (cf_overlap(codes, cf), cf_overlap_any(codes, cf), random_overlap_any(codes)) == (0,) * 3


@pytest.mark.parametrize(
    ("name", "overlap", "overlap_any", "collisions", "level_1"),
    [
        ("Instruments", 0.0824, 0.2790, 0.0025, 150),
        ("Beauty", 0.0797, 0.2521, 0.0011, 197),
    ],
)
def test_published_identifiers(
    name: str, overlap: float, overlap_any: float, collisions: float, level_1: int
):
    """The figures that LETTER's published files show, measured independently."""
    if "LETTERREC_DATA" not in os.environ:
        pytest.skip("set LETTERREC_DATA to the folder with LETTER's published data")
    folder = Path(os.environ["LETTERREC_DATA"]) / name
    index = json.loads((folder / f"{name}.index.json").read_text("utf-8"))
    identifiers = parse_tokens([index[str(i)] for i in range(len(index))])
    cf = torch.load(folder / f"{name}-32d-sasrec.pt", weights_only=True).detach().numpy()
    report = diagnose(identifiers, cf=cf)
    assert identifiers.sizes == (256,) * 4
    assert report["levels"][0]["codes_used"] == level_1
    assert report["cf_overlap"] == pytest.approx(overlap, abs=5e-5)
    assert report["cf_overlap_any"] == pytest.approx(overlap_any, abs=5e-5)
    assert collision_rate(identifiers.codes) == pytest.approx(collisions, abs=5e-5)


def test_neighbours_are_of_a_sample_where_items_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of items are each other's neighbours, and every other pair shares its codes."""
    n = 2000
    cf = np.random.default_rng(0).normal(size=(n // 2, 16)).repeat(2, 0).astype(np.float32)
    codes = np.arange(n, dtype=np.int32)[:, None] % [n]
    codes[1::4] = codes[0::4]
    identifiers = Identifiers(codes.astype(np.int32), (n,))
    every = diagnose(identifiers, cf=cf)
    assert every["cf_overlap"] == 0.5
    assert "cf_overlap_items" not in every
    monkeypatch.setattr(diagnostics, "EXACT", 1999)
    monkeypatch.setattr(diagnostics, "SAMPLED", 500)
    some = diagnose(identifiers, cf=cf)
    assert some["cf_overlap_items"] == 500
    assert some["cf_overlap"] == pytest.approx(0.5, abs=0.1)
    assert some == diagnose(identifiers, cf=cf)
