"""Items held out of training: they leave no trace in it, and are asked for afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from letterrec import api
from letterrec.data import Dataset, Histories, read
from letterrec.data.cold import ColdItems, hold_out
from letterrec.errors import DataError, RunError
from letterrec.serving.engine import Engine


def dataset(*sequences: list[int], texts: bool = True) -> Dataset:
    names = tuple("abcdefghij")
    return Dataset(
        name="tiny",
        user_ids=tuple(f"u{i}" for i in range(len(sequences))),
        item_ids=names,
        interactions=Histories.from_lists(sequences),
        titles=names,
        texts=names if texts else None,
        given_cf=np.arange(20, dtype=np.float32).reshape(10, 2),
    )


def test_held_out_items_are_in_no_sequence_and_each_case_asks_for_one() -> None:
    sequences = [[0, 1, 2, 3], [4, 5, 6], [7], [8, 9, 0, 5]]
    whole = dataset(*sequences)
    rest, cold = hold_out(whole, 0.3, seed=1)
    gone = set(cold.item_ids)
    assert len(gone) == 3
    assert set(rest.item_ids) == set(whole.item_ids) - gone
    assert rest.given_cf is not None
    for item, cf in zip(rest.item_ids, rest.given_cf, strict=True):
        assert cf[0] == 2 * whole.item_rows[item]
    named = [[rest.item_ids[i] for i in s] for s in rest.interactions]
    by_user = dict(zip(rest.user_ids, named, strict=True))
    asked = []
    for user, sequence in zip(whole.user_ids, sequences, strict=True):
        kept = [whole.item_ids[i] for i in sequence if whole.item_ids[i] not in gone]
        assert by_user.get(user, []) == kept
        last = whole.item_ids[sequence[-1]]
        if last in gone and kept:
            asked.append((kept, last))
    cases = [
        ([rest.item_ids[i] for i in history], cold.item_ids[target])
        for history, target in zip(cold.histories, cold.targets, strict=True)
    ]
    assert cases == asked


def test_the_seed_decides_what_is_held_out() -> None:
    whole = dataset([0, 1, 2, 3], [4, 5, 6])
    same = [hold_out(whole, 0.3, seed=5)[1].item_ids for _ in range(2)]
    assert same[0] == same[1]
    assert len({hold_out(whole, 0.3, seed=s)[1].item_ids for s in range(5)}) > 1


def test_items_without_text_cannot_be_held_out() -> None:
    with pytest.raises(DataError, match="have no text"):
        hold_out(dataset([0, 1, 2], texts=False), 0.1, seed=0)


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    _, cold = hold_out(dataset([0, 1, 2, 3], [4, 5, 6], [1, 2]), 0.5, seed=2)
    cold.save(tmp_path / "cold")
    again = ColdItems.load(tmp_path / "cold")
    assert again.item_ids == cold.item_ids
    assert again.texts == cold.texts
    assert [h.tolist() for h in again.histories] == [h.tolist() for h in cold.histories]
    assert again.targets.tolist() == cold.targets.tolist()


@pytest.fixture(scope="module")
def cold_run(shop_run: Path, shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's run, made as if some of its items had been held out: nothing is trained anew."""
    from letterrec.config.settings import parse_settings
    from letterrec.runs.run import Run

    settings = Run.open(shop_run).settings.model_dump()
    settings["data"]["cold_share"] = 0.1
    for section in ("collaborative", "tokenizer"):
        settings[section]["training"]["epochs"] = 1
    settings["training"]["epochs"] = 6
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
    from letterrec.data import HeldOut
    from letterrec.evaluation.cold_start import _neighbour_ranks

    content = np.eye(12, dtype=np.float32)
    content[11] = content[3]
    cases = HeldOut(np.array([0]), Histories.from_lists([[3]]), np.array([11], dtype=np.int32))
    assert _neighbour_ranks(content, cases, 20).tolist() == [0]


def test_popularity_skips_what_was_seen(shop_run: Path) -> None:
    from letterrec.data import HeldOut
    from letterrec.evaluation.cold_start import _popularity_ranks

    engine: Engine = api.load(shop_run)
    order = np.argsort(-engine.catalogue.popularity, kind="stable")
    history = [order[:3].tolist()]
    cases = HeldOut(np.array([0]), Histories.from_lists(history), order[3:4].astype(np.int32))
    assert _popularity_ranks(engine.catalogue.popularity, cases).tolist() == [0]


def test_held_out_cases_of_one_length_come_back(tmp_path: Path) -> None:
    histories = Histories.from_lists([[0, 1], [1, 0]])
    ColdItems(("a",), ("A",), ("A",), histories, np.array([0, 0])).save(tmp_path)
    schema = pl.read_parquet_schema(tmp_path / "cases.parquet")
    assert schema == {"history": pl.List(pl.Int32), "target": pl.Int64}
    again = ColdItems.load(tmp_path).histories
    assert [h.tolist() for h in again] == [[0, 1], [1, 0]]
