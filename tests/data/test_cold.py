"""Items held out of training leave no trace in it; each case asks for one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from letterrec.data import Dataset, Histories
from letterrec.data.cold import ColdItems, hold_out
from letterrec.errors import DataError


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


def test_held_out_cases_of_one_length_come_back(tmp_path: Path) -> None:
    histories = Histories.from_lists([[0, 1], [1, 0]])
    ColdItems(("a",), ("A",), ("A",), histories, np.array([0, 0])).save(tmp_path)
    schema = pl.read_parquet_schema(tmp_path / "cases.parquet")
    assert schema == {"history": pl.List(pl.Int32), "target": pl.Int64}
    again = ColdItems.load(tmp_path).histories
    assert [h.tolist() for h in again] == [[0, 1], [1, 0]]
