"""P5-SemID and P5-CID: the tokenizer contract, and trees with a known answer."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import N_ITEMS
from contract_tokenizer import CATEGORIES, CONTENT, ITEMS, TokenizerContract, training
from letterrec import api
from letterrec.config.loading import load_settings
from letterrec.data.text import item_text
from letterrec.errors import DataError, IdentifierError, RunError, SettingsError
from letterrec.files.tensors import read_tensors, write_tensors
from letterrec.reports.html import write_report
from letterrec.serving.editing.editor import Editor
from letterrec.serving.editing.edits import AddItems
from letterrec.tokenizers import Items, load_tokenizer
from letterrec.tokenizers.p5 import CategoryTokenizer, CooccurrenceTokenizer
from letterrec.tokenizers.spectral import cluster_tree, spectral_clusters
from letterrec.training.devices import set_seed


class TestCategories(TokenizerContract):
    name = "p5-semid"

    def make(self) -> CategoryTokenizer:
        return CategoryTokenizer()


class TestCooccurrence(TokenizerContract):
    name = "p5-cid"

    def make(self) -> CooccurrenceTokenizer:
        return CooccurrenceTokenizer(clusters=8, leaf=10)

    def test_a_cluster_within_a_cluster_is_of_one_planted_subgroup(
        self, fitted: CooccurrenceTokenizer
    ) -> None:
        codes = fitted.quantize(self.known())[:, 1]
        subgroup = np.arange(len(CONTENT)) // ITEMS
        pure = sum(np.bincount(subgroup[codes == code]).max() for code in np.unique(codes))
        assert pure > 0.9 * len(CONTENT)

    def test_a_graph_of_other_items_is_refused(self, fitted: CooccurrenceTokenizer) -> None:
        with pytest.raises(RunError, match="graph of 17 items; the tokenizer was fitted to that"):
            fitted.quantize(self.known(17))


def nothing(n: int) -> np.ndarray:
    return np.zeros((n, 0), dtype=np.float32)


def semid(paths: list[tuple[str, ...]], **settings: object) -> CategoryTokenizer:
    return CategoryTokenizer(**settings).fit(Items(nothing(len(paths)), None, paths), training())


def test_categories_become_codes_and_numbers() -> None:
    paths = [("all", "hair", "soap"), ("all", "face"), ("all", "hair", "oil"), ("all", "hair")]
    paths += [("all", "face", "oil"), ("all", "face")]
    tokenizer = semid(paths)
    assert tokenizer.sizes == (3, 3, 4)  # face, hair; oil, soap; one more each for "none"
    codes = tokenizer.assign(Items(nothing(6), None, paths))
    assert codes.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0], [1, 2, 0], [0, 0, 0], [0, 2, 1]]
    shallow = semid(paths, levels=2)
    assert shallow.assign(Items(nothing(6), None, paths))[:, 0].tolist() == [1, 0, 1, 1, 0, 0]


def test_a_new_category_is_none_below_the_known_ones() -> None:
    tokenizer = semid([("hair", "soap"), ("face", "oil"), ("face",)])
    new = Items(nothing(2), None, [("hair", "gel"), ("garden",)])
    assert tokenizer.quantize(new).tolist() == [[1, 2, 0], [2, 2, 0]]


def test_a_set_of_categories_is_ordered_by_how_many_items_have_them() -> None:
    paths = [("oil", "hair"), ("hair", "soap"), ("gel", "hair"), ("soap", "hair")]
    tokenizer = semid(paths)
    codes = tokenizer.quantize(Items(nothing(4), None, paths))
    assert codes[1].tolist() == codes[3].tolist()
    assert len(np.unique(codes[:, 0])) == 3  # hair is all items' widest: that level is left out
    given = semid(paths, order="given")
    assert not np.array_equal(*given.quantize(Items(nothing(4), None, paths))[[1, 3]])


def test_items_without_any_category_are_a_group() -> None:
    paths = [(), ("hair",), ()]
    codes = semid(paths).assign(Items(nothing(3), None, paths))
    assert codes.tolist() == [[1, 0], [0, 0], [1, 1]]


def test_what_a_tokenizer_needs_is_asked_for() -> None:
    with pytest.raises(SettingsError, match="needs the items' categories"):
        CategoryTokenizer().fit(Items(CONTENT), training())
    with pytest.raises(SettingsError, match="needs the items' co-occurrence graph"):
        CooccurrenceTokenizer().fit(Items(CONTENT), training())
    with pytest.raises(RunError, match="fitted to items without content"):
        semid([("a",), ("b",)]).assign(Items(CONTENT))


def test_a_full_group_sends_new_items_to_the_next_nearest() -> None:
    known = Items(CONTENT, None, CATEGORIES)
    tokenizer = CategoryTokenizer().fit(known, training())
    taken = tokenizer.assign(known)
    room = tokenizer.sizes[-1] - ITEMS
    new = tokenizer.assign(Items(np.repeat(CONTENT[:1], room + 1, axis=0)), taken)
    assert (new[:room, :-1] == taken[0, :-1]).all()
    assert new[room, 0] == taken[0, 0]  # a subgroup beside it
    assert new[room, 1] != taken[0, 1]
    everywhere = np.repeat(CONTENT[:1], room * len(taken) // ITEMS + 1, axis=0)
    with pytest.raises(IdentifierError, match="all identifiers are taken: 30 groups of 16 items"):
        tokenizer.assign(Items(everywhere), taken)
    with pytest.raises(IdentifierError, match=r"shape \(240, 2\); expected \(m, 3\)"):
        tokenizer.assign(known, taken[:, :2])


def test_a_saved_tree_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    semid([("a",), ("b",)]).save(tmp_path)
    path = tmp_path / "tokenizer.safetensors"
    tensors, about = read_tensors(path)
    for broken in ({"sizes": tensors["sizes"][:1]}, {"paths": tensors["paths"] + 7}):
        write_tensors(path, tensors | broken, about)
        with pytest.raises(RunError, match=r"does not fit tokenizer\.json; fit it again"):
            load_tokenizer(tmp_path)
    write_tensors(path, tensors, {})
    with pytest.raises(RunError, match=r"does not fit tokenizer\.json; fit it again"):
        load_tokenizer(tmp_path)


def communities(sizes: list[int], seed: int = 0) -> tuple[sp.csr_array, np.ndarray]:
    """A graph with many edges within communities and few between them, in random order."""
    random = np.random.default_rng(seed)
    label = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    chance = np.where(label[:, None] == label, 0.3, 0.01)
    upper = np.triu(random.random(chance.shape) < chance, 1)
    return sp.csr_array((upper | upper.T).astype(np.float32)), label


@pytest.mark.parametrize("sizes", [[40, 30, 30, 20], [400, 300, 200]], ids=["dense", "sparse"])
def test_spectral_clusters_are_the_planted_communities(sizes: list[int]) -> None:
    graph, label = communities(sizes)
    set_seed(0)
    found = spectral_clusters(graph, len(sizes))
    agree = sum(np.bincount(label[found == c]).max() for c in np.unique(found))
    assert len(np.unique(found)) == len(sizes)
    assert agree > 0.95 * len(label)


def test_a_tree_divides_until_groups_are_small() -> None:
    graph, _ = communities([60, 50, 18])
    set_seed(0)
    levels = cluster_tree(graph, 3, leaf=20)
    names = np.stack(levels, 1)
    _, sizes = np.unique(names, axis=0, return_counts=True)
    assert sizes.max() <= 20
    for level in levels:
        assert set(level[level >= 0]) == set(range(level.max() + 1))
    assert (levels[1] < 0).any()  # the small community is not divided
    assert cluster_tree(graph, 3, leaf=len(names)) == []


def test_nodes_without_edges_are_cut_into_pieces() -> None:
    (level,) = cluster_tree(sp.csr_array((50, 50), dtype=np.float32), 4, leaf=20)
    assert np.bincount(level).max() <= 20


def test_the_graph_alone_is_enough() -> None:
    known = TestCooccurrence().known()
    bare = replace(known, content=nothing(len(known)), cf=None, categories=None)
    tokenizer = CooccurrenceTokenizer(clusters=8, leaf=10).fit(bare, training())
    assert len(np.unique(tokenizer.assign(bare), axis=0)) == len(known)


def with_categories(shop: Path, folder: Path) -> Path:
    """The same shop, with a category of three for every item and one below it for every other."""
    folder.mkdir()
    (folder / "interactions.csv").write_bytes((shop / "interactions.csv").read_bytes())
    with (folder / "items.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "title", "categories"])
        for item in range(N_ITEMS):
            below = f" > part {item // 10}" if item % 2 else ""
            writer.writerow([f"i{item:02d}", f"thing {item}", f"kind {item // 20}{below}"])
    return folder


SETTINGS = [
    "data.k_core=0",
    "recommender.name=rqt",
    "recommender.dim=32",
    "training.epochs=2",
    "evaluation.beam=10",
]


@pytest.mark.slow
def test_a_run_on_categories_recommends_and_takes_new_items(shop: Path, tmp_path: Path) -> None:
    source, folder = with_categories(shop, tmp_path / "shop"), tmp_path / "run"
    run = api.fit(source, folder, load_settings("p5-semid", SETTINGS))
    assert not run.is_done("collaborative")
    engine = api.load(folder)
    codes = engine.identifiers.codes  # kind, part, number
    rows = [engine.dataset.item_rows[f"i{item:02d}"] for item in (1, 3, 21, 2)]
    assert codes[rows[0], :2].tolist() == codes[rows[1], :2].tolist()
    assert codes[rows[0], 0] == codes[rows[3], 0] != codes[rows[2], 0]
    assert len(engine.recommend([["i01", "i02"]], k=5)[0]) == 5
    Editor(engine).make(AddItems({"new": item_text("thing 7")}))
    assert engine.catalogue.n_items == N_ITEMS + 1
    assert "Identifiers" in write_report(folder).read_text("utf-8")


@pytest.mark.slow
def test_a_run_on_what_is_used_together_needs_no_text(shop: Path, tmp_path: Path) -> None:
    overrides = [*SETTINGS, "tokenizer.leaf=12", "tokenizer.clusters=6"]
    settings = load_settings("p5-cid", [*overrides, "content.source=collaborative"])
    run = api.fit(shop, tmp_path / "run", settings)
    assert not run.is_done("collaborative")
    assert run.metrics()["test"]["metrics"]["recall@10"] > 0.3  # by chance .17
    first = run.identifiers(run.dataset()).codes[:, 0]
    near = np.mean(first == np.roll(first, 1))  # item i is followed by item i + 1
    assert near > 1.5 * np.mean(first[:, None] == first)


def test_data_without_categories_are_refused_at_once(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="makes identifiers of categories, and the items of shop"):
        api.fit(shop, tmp_path / "run", load_settings("p5-semid", SETTINGS))
