"""What large catalogues take, on a small one: a whole fit, stopped and gone on with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import letterrec
from letterrec.config.section import TrainingSettings
from letterrec.embeddings import similarity
from letterrec.evaluation import cases
from letterrec.identifiers import diagnostics
from letterrec.nn import sasrec
from letterrec.recommenders.rqt import network
from rings import QUICK, write_rings


@pytest.mark.slow
def test_a_large_catalogue_is_fitted_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (diagnostics, "EXACT", 10),
        (diagnostics, "SAMPLED", 8),
        (sasrec, "FULL_SOFTMAX_ITEMS", 10),
        (network, "SOFTMAX_ITEMS", 10),
        (cases, "EVERYONE", 30),
        (cases, "SAMPLE", 25),
        (TrainingSettings, "most", 60),
    ):
        monkeypatch.setattr(module, name, value)
    for search in (similarity.nearest, similarity.nearest_others):
        monkeypatch.setitem(search.__kwdefaults__, "exact", 10)
    source = write_rings(tmp_path) / "Beauty"
    settings = [s for s in QUICK if s != "training.epochs=1"]
    changes = letterrec.load_settings(None, settings)
    run = letterrec.fit(source, tmp_path / "run", changes, progress=False)
    found = letterrec.inspect(run)
    assert found["cf_overlap_items"] == 8
    tested = run.metrics()["test"]
    assert (tested["users"], tested["of_users"]) == (25, 40)
    assert len(run.training_log("recommender").epochs) == 1  # of 16: 60 sequences in all
    assert "item_embedding.weight" in run.weights()
    assert "item_query.weight" not in run.weights()  # there is no softmax over so many items
    lists = letterrec.load(run).recommend([["1", "2"]], k=3)
    assert len(lists[0]) == 3
    again = letterrec.fit(source, tmp_path / "again", changes, progress=False)
    assert np.array_equal(run.ranks("test"), again.ranks("test"))
