"""Items held out of training: they leave no trace in it, and are asked for afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from letterrec import api
from letterrec.data import Histories, read
from letterrec.data.cold import ColdItems
from letterrec.errors import RunError


@pytest.fixture(scope="module")
def cold_run(shop_run: Path, shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's run, made as if some of its items had been held out: nothing is trained anew."""
    from letterrec.config.loading import parse_settings
    from letterrec.runs.run import Run

    settings = Run.open(shop_run).settings.model_dump()
    settings["data"]["cold_share"] = 0.1
    for section in ("collaborative", "tokenizer"):
        settings[section]["training"]["epochs"] = 1
    settings["training"]["epochs"] = 2
    folder = tmp_path_factory.mktemp("cold") / "run"
    api.fit(shop, folder, parse_settings(settings))
    return folder


def test_cold_items_are_ranked_among_all(cold_run: Path, shop: Path) -> None:
    result = api.evaluate_cold(cold_run)
    assert (result["items"], result["cold_items"]) == (60, 6)
    assert result["cold"]["popularity"]["recall@10"] == 0.0
    assert 0 <= result["cold"]["letterrec"]["recall@10"] <= 1
    assert result["cold"]["chance"] == pytest.approx(10 / 60)
    whole = read(shop)
    held_out = ColdItems.load(cold_run / "cold")
    last = [whole.item_ids[s[-1]] for s in whole.interactions]
    assert result["cold"]["cases"] == sum(item in held_out.item_ids for item in last)
    assert set(result["warm"]) == {"cases", "letterrec", "content_knn", "popularity", "chance"}
    assert not (cold_run / "catalogue.parquet").exists()


def test_a_run_without_held_out_items_says_how_to_make_one(shop_run: Path) -> None:
    with pytest.raises(RunError, match=r"--set data\.cold_share=0\.05"):
        api.evaluate_cold(shop_run)


def test_content_neighbours_find_the_twin_of_the_history() -> None:
    from letterrec.decoding.ranker import Queries, ScoringRanker
    from letterrec.evaluation.cold_start import ContentNeighbours

    content = np.eye(12, dtype=np.float32)
    content[11] = content[3]
    ranker = ScoringRanker(ContentNeighbours(content, 20), torch.device("cpu"))
    ranking = ranker.rank(Queries(Histories.from_lists([[3]]), 1, exclude_seen=True))
    assert ranking.items.tolist() == [[11]]
