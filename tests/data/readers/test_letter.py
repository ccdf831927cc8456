from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from letterrec.data import Dataset, read

SEQUENCES = {"10": [2, 0, 10], "9": ["0", "2", "2"], "11": [10, 0, 3]}
ITEMS = {
    "0": {"title": "Lotion &amp; soap", "categories": "Beauty, Skin", "asin": "B000"},
    "2": {"title": "", "description": ["soft", "blue"]},
    "3": {"title": "Comb"},
    "5": {"title": "never bought"},
}


def tokens_of(item: str) -> list[str]:
    return [f"<a_{item}>", f"<b_{int(item) + 1}>"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Tiny.inter.json").write_text(json.dumps(SEQUENCES))
    (tmp_path / "Tiny.item.json").write_text(json.dumps(ITEMS))
    index = {i: tokens_of(i) for i in ("10", "5", "3", "2", "0")}
    (tmp_path / "Tiny.index.json").write_text(json.dumps(index))
    torch.save(torch.arange(10.0).reshape(5, 2), tmp_path / "Tiny-2d-sasrec.pt")
    return tmp_path


def test_all_four_files(
    folder: Path, sequences_of: Callable[[Dataset], dict[str, list[str]]]
) -> None:
    dataset = read(folder)
    assert dataset.name == "Tiny"
    assert dataset.user_ids == ("9", "10", "11")
    assert dataset.item_ids == ("0", "2", "3", "10")  # 5 has no interactions
    assert sequences_of(dataset) == {
        "9": ["0", "2", "2"],
        "10": ["2", "0", "10"],
        "11": ["10", "0", "3"],
    }
    assert dataset.titles == ("Lotion & soap", "2", "Comb", "10")
    assert dataset.texts == ("Lotion & soap. Beauty, Skin", "soft, blue", "Comb", "10")
    assert dataset.categories == (("Beauty", "Skin"), (), (), ())
    assert dataset.given_tokens == tuple(tuple(tokens_of(i)) for i in dataset.item_ids)
    assert dataset.given_cf is not None
    np.testing.assert_array_equal(dataset.given_cf, [[0, 1], [2, 3], [4, 5], [8, 9]])
    assert dataset.warnings == (
        "1 catalogue item without interactions: dropped",
        "2 items without title: shown by id",
        "1 item without text: the id stands in for it",
    )


def test_a_core_keeps_tokens_and_embeddings_with_their_items(folder: Path) -> None:
    dataset = read(str(folder), k_core=2)
    assert dataset.item_ids == ("0", "2", "10")
    assert [s.tolist() for s in dataset.interactions] == [[0, 1, 1], [1, 0, 2], [2, 0]]
    assert dataset.given_tokens == tuple(tuple(tokens_of(i)) for i in dataset.item_ids)
    assert dataset.given_cf is not None
    np.testing.assert_array_equal(dataset.given_cf, [[0, 1], [2, 3], [8, 9]])


def test_interactions_alone_are_enough(tmp_path: Path) -> None:
    (tmp_path / "Plain.inter.json").write_text('\ufeff{"u": ["x", "y", "x"], "empty": []}')
    dataset = read(tmp_path)
    assert (dataset.item_ids, dataset.titles, dataset.texts) == (("x", "y"), ("x", "y"), None)
    assert (dataset.given_tokens, dataset.given_cf) == (None, None)
    assert "1 user without items: dropped" in dataset.warnings


@pytest.mark.parametrize(
    ("name", "users", "items", "interactions", "with_text"),
    [("Beauty", 22363, 12101, 198502, True), ("Instruments", 24772, 9922, 206153, False)],
)
def test_published_data(
    real_data: Path, name: str, users: int, items: int, interactions: int, with_text: bool
) -> None:
    dataset = read(real_data / name)
    sizes = (dataset.n_users, dataset.n_items, dataset.n_interactions)
    assert sizes == (users, items, interactions)
    assert dataset.item_ids == tuple(str(i) for i in range(items))
    assert (dataset.texts is not None) == with_text
    assert dataset.given_tokens is not None
    assert {len(t) for t in dataset.given_tokens} == {4}
    assert dataset.given_cf is not None
    assert dataset.given_cf.shape == (items, 32)

    assert int(dataset.interactions.lengths.min()) >= 5
    assert len(dataset.training().items) == interactions - 2 * users
    with (real_data / name / f"{name}.inter.json").open() as file:
        raw = json.load(file)
    for split, back in (("test", 1), ("valid", 2)):
        held_out = dataset.held_out(split)  # type: ignore[arg-type]
        assert len(held_out) == users
        assert held_out.targets[7] == raw["7"][-back]
        assert held_out.histories[7].tolist() == raw["7"][:-back]


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "as LC-Rec has it"])
def test_what_users_like(folder: Path, nested: bool) -> None:
    likes: dict[str, object] = {"10": ["soft", "blue"], "9": "combs", "77": "nobody"}
    users = {"user_explicit_preference": likes, "user_vague_intention": {}} if nested else likes
    (folder / "Tiny.user.json").write_text(json.dumps(users))
    assert read(folder).preferences == ("combs", "soft, blue", "")
