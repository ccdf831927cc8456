"""Table 3's measurements by hand: rotations, and what a linear probe finds."""

from __future__ import annotations

import numpy as np
import pytest

from letterrec.studies.quantized import at_scale_of, linear_probe, over_rotations, rotation

RANDOM = np.random.default_rng(0)
Z = RANDOM.normal(size=(400, 6)).astype(np.float32)


def test_rotations_keep_lengths_and_differ() -> None:
    turned = Z @ rotation(6, 0)
    assert np.allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(Z, axis=1), atol=1e-4)
    assert np.allclose(rotation(6, 0) @ rotation(6, 0).T, np.eye(6), atol=1e-5)
    assert not np.allclose(rotation(6, 0), rotation(6, 1))


def test_what_a_basis_makes_of_a_result() -> None:
    found = over_rotations(Z, lambda z: float(z[0, 0]))
    values = [float((Z @ rotation(6, seed))[0, 0]) for seed in range(8)]
    assert found == {
        "recall@10 rotated": pytest.approx(np.mean(values)),
        "lowest rotated": min(values),
        "highest rotated": max(values),
    }


def test_the_probe_finds_what_is_linear_and_nothing_else() -> None:
    h = Z @ RANDOM.normal(size=(6, 4)) + 3
    assert linear_probe(Z, h.astype(np.float32)) == pytest.approx(1.0, abs=1e-6)
    assert linear_probe(Z @ rotation(6, 0), h.astype(np.float32)) == pytest.approx(1.0, abs=1e-6)
    noise = RANDOM.normal(size=(400, 4)).astype(np.float32)
    assert linear_probe(Z, noise) < 0.05
    half = (h / h.std() + RANDOM.normal(size=h.shape)).astype(np.float32)
    assert 0.2 < linear_probe(Z, half) < 0.8


def test_embeddings_take_the_scale_of_those_that_they_replace() -> None:
    own = 7 * RANDOM.normal(size=(400, 6)).astype(np.float32)
    scaled = at_scale_of(Z, own)
    assert np.square(scaled).mean() == pytest.approx(np.square(own).mean(), rel=1e-4)
    assert np.allclose(scaled / Z, (scaled / Z)[0, 0], rtol=1e-4)
