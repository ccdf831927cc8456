"""Maps of embeddings: what is near stays near."""

from __future__ import annotations

import numpy as np
import pytest

from letterrec.embeddings.projection import neighbourhoods


def test_groups_far_apart_stay_apart_in_a_plane() -> None:
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(3), 30)
    values = 40 * np.eye(8)[group] + random.normal(size=(90, 8))
    where = neighbourhoods(values.astype(np.float32))
    assert where.shape == (90, 2)
    assert where.dtype == np.float32
    distances = np.linalg.norm(where[:, None] - where[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = group[distances.argmin(1)]
    assert (nearest == group).mean() > 0.9


@pytest.mark.parametrize("n", [1, 2, 4])
def test_few_points_have_a_place_too(n: int) -> None:
    values = np.random.default_rng(0).normal(size=(n, 6)).astype(np.float32)
    where = neighbourhoods(values)
    assert where.shape == (n, 2)
    assert np.isfinite(where).all()
