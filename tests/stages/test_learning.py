"""What the training stages choose, on planted data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import letterrec
from conftest import small_settings

USERS, TASTES, ITEMS = 240, 6, 36  # of each source; 240 is enough for strengths of its own


def write_source(folder: Path, *, comes_back: bool) -> Path:
    """Item ``i`` is of taste ``i % TASTES``. Users of one source go round three items of their
    taste again and again; those of the other never take an item twice.
    """
    folder.mkdir()
    draw = np.random.default_rng(0)
    rows = []
    for user in range(USERS):
        own = draw.permutation(np.arange(user % TASTES, ITEMS, TASTES))
        taken = np.tile(own[:3], 2)[:5] if comes_back else own[:5]
        rows += [(f"u{user}", int(item), step) for step, item in enumerate(taken)]
    columns = ["user", "item", "timestamp"]
    pl.DataFrame(rows, columns, orient="row").write_csv(folder / "interactions.csv")
    return folder


@pytest.mark.slow
def test_domains_choose_for_themselves_whether_seen_items_count(tmp_path: Path) -> None:
    sources = {
        "coffee": write_source(tmp_path / "coffee", comes_back=True),
        "films": write_source(tmp_path / "films", comes_back=False),
    }
    run = letterrec.fit(
        sources, tmp_path / "run", settings=small_settings("training.epochs=1"), progress=False
    )
    transitions = run.transitions(2 * ITEMS)
    assert transitions is not None
    assert transitions.by_domain is not None
    seen = {name: own["seen"] for name, own in transitions.by_domain.strengths.items()}
    assert seen == {"coffee": 1.0, "films": 0.0}
    refitted = letterrec.refit(run, tmp_path / "refitted", progress=False)
    again = refitted.transitions(2 * ITEMS)
    assert again is not None
    assert again.by_domain is not None
    assert again.by_domain.strengths == transitions.by_domain.strengths
