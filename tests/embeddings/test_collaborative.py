"""CF embeddings: SASRec learns what is known, scores exactly, resumes; given ones are checked."""

from __future__ import annotations

import os
import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from conftest import Cut, cut_at_step, small_settings
from letterrec import api
from letterrec.data.dataset import Dataset
from letterrec.data.sequences import Histories
from letterrec.data.splits import HeldOut
from letterrec.embeddings.collaborative import given_cf, train_cf
from letterrec.errors import DataError, RunError, SettingsError
from letterrec.files import fingerprint
from letterrec.files.tensors import write_tensors
from letterrec.nn import sasrec
from letterrec.nn.sasrec import SASRec, full_loss
from letterrec.runs.run import Run
from letterrec.training.devices import set_seed
from letterrec.training.options import TrainingOptions
from ranking import metrics_of

N_ITEMS = 24
GROUPS = 4  # an item is followed by the next one of its group, in a ring


def rings(n_users: int = 120) -> Dataset:
    """Each user walks along one ring of items: the next item is certain."""
    random_state = np.random.default_rng(0)
    size = N_ITEMS // GROUPS
    sequences = []
    for user in range(n_users):
        start, length = random_state.integers(size), random_state.integers(5, 12)
        group = user % GROUPS
        sequences.append([group * size + int(start + i) % size for i in range(length)])
    ids = tuple(f"item-{i}" for i in range(N_ITEMS))
    users = tuple(f"user-{u}" for u in range(n_users))
    return Dataset("rings", users, ids, Histories.from_lists(sequences), ids)


def small(**options: Any) -> SASRec:
    settings = {"dim": 16, "layers": 1, "dropout": 0.1, "max_history": 6, "epochs": 12}
    settings |= {"batch_size": 16, "learning_rate": 0.01, "seed": 3}
    settings |= options
    names = {field.name for field in fields(TrainingOptions)}
    training = TrainingOptions(**{k: settings.pop(k) for k in list(settings) if k in names})
    valid = rings().held_out("valid")
    return train_cf(rings(), training, **settings, validate=lambda model: metrics_of(model, valid))


@pytest.fixture(scope="module")
def trained() -> SASRec:
    return small()


def untrained(n_items: int = 50, **options: Any) -> SASRec:
    set_seed(0)
    return SASRec(n_items=n_items, dim=16, max_history=8, **options).eval()


def test_it_learns_which_item_comes_next(trained: SASRec) -> None:
    assert metrics_of(trained, rings().held_out("valid"))["recall@5"] > 0.99
    assert metrics_of(trained, rings().held_out("test"))["ndcg@5"] > 0.95
    scores = trained.scores(torch.tensor([[0, 1, 2], [9, 10, -1]]))
    assert scores.argmax(1).tolist() == [3, 11]


@pytest.mark.slow
def test_it_learns_so_too_where_sums_are_normalized() -> None:
    model = small(norm_first=False)
    assert metrics_of(model, rings().held_out("valid"))["recall@5"] > 0.99


def test_a_file_of_an_earlier_version_normalizes_first(trained: SASRec, tmp_path: Path) -> None:
    ids = rings().item_ids
    settings = {k: v for k, v in trained.settings.items() if k != "norm_first"}
    about = {"settings": settings, "items": fingerprint(ids)}
    write_tensors(tmp_path / "sasrec.safetensors", trained.state_dict(), about)
    history = torch.tensor([[0, 1, 2]])
    earlier = SASRec.load(tmp_path / "sasrec.safetensors", ids)
    assert torch.equal(earlier.scores(history), trained.scores(history))


def test_embeddings_have_the_promised_form(trained: SASRec) -> None:
    embeddings = trained.item_embeddings()
    assert embeddings.shape == (N_ITEMS, 16)
    assert embeddings.dtype == np.float32
    before = embeddings.copy()
    embeddings[:] = 0  # a copy: the module keeps its own
    assert np.array_equal(trained.item_embeddings(), before)
    assert not trained.training


def test_only_training_interactions_are_learnt_from() -> None:
    """Other held-out items give the same weights: neither split is seen but for selection."""
    data = rings()
    items = data.interactions.items.copy()
    last = data.interactions.offsets[1:]
    items[last - 1] = 0
    items[last - 2] = 0
    other = Dataset(
        data.name,
        data.user_ids,
        data.item_ids,
        Histories(data.interactions.offsets, items),
        data.titles,
    )
    options = TrainingOptions(epochs=1, batch_size=32)
    a, b = (train_cf(each, options, dim=8, max_history=6) for each in (data, other))
    assert np.array_equal(a.item_embeddings(), b.item_embeddings())


def test_the_same_seed_gives_the_same_embeddings(trained: SASRec) -> None:
    assert np.array_equal(small().item_embeddings(), trained.item_embeddings())
    assert not np.array_equal(small(seed=4, epochs=1).item_embeddings(), trained.item_embeddings())


@pytest.mark.parametrize("count", [2, 7, 12])
def test_resume_gives_the_embeddings_of_an_uninterrupted_run(
    trained: SASRec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    with monkeypatch.context() as patch:
        cut_at_step(patch, count)
        with pytest.raises(Cut):
            small(folder=tmp_path)
    assert (tmp_path / "checkpoint.safetensors").exists()
    resumed = small(folder=tmp_path)
    assert np.array_equal(resumed.item_embeddings(), trained.item_embeddings())


def test_scores_equal_a_pass_over_each_history_alone() -> None:
    model = untrained()
    histories = [[4], [7, 3, 9], list(range(8)), list(range(20, 40))]
    padded = torch.from_numpy(Histories.from_lists(histories).padded(model.max_history))
    scores = model.scores(padded)
    assert scores.shape == (4, 50)
    assert scores.dtype == torch.float32
    for row, history in enumerate(histories):
        latest = torch.tensor([history[-8:]])
        with torch.no_grad():
            expected = model.encode(latest)[0, -1] @ model.items.weight.T
        torch.testing.assert_close(scores[row], expected, rtol=1e-5, atol=1e-6)


def test_padding_changes_nothing_and_an_empty_history_scores_zero() -> None:
    model = untrained()
    short = model.scores(torch.tensor([[5, 6]]))
    wide = model.scores(torch.tensor([[5, 6, -1, -1, -1], [-1, -1, -1, -1, -1]]))
    torch.testing.assert_close(wide[:1], short, rtol=1e-5, atol=1e-6)
    assert wide[1].eq(0).all()
    assert model.scores(torch.zeros(2, 0, dtype=torch.int64)).eq(0).all()


def test_states_depend_on_no_later_item() -> None:
    model = untrained()
    with torch.no_grad():
        whole = model.encode(torch.tensor([[1, 2, 3, 4]]))
        changed = model.encode(torch.tensor([[1, 2, 30, 40]]))
    torch.testing.assert_close(whole[:, :2], changed[:, :2])
    assert not torch.allclose(whole[:, 2], changed[:, 2])


@pytest.mark.parametrize("chunk", [1, 28, 24_576])
def test_full_loss_and_its_gradient_are_those_of_cross_entropy(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sasrec, "_CHUNK_LOGITS", chunk)
    set_seed(0)
    states = torch.randn(37, 8, requires_grad=True)
    items = torch.randn(11, 8, requires_grad=True)
    targets = torch.randint(0, 11, (37,))
    expected = F.cross_entropy(states @ items.T, targets)
    wanted = torch.autograd.grad(3 * expected, (states, items))
    loss = full_loss(states, items, targets)
    found = torch.autograd.grad(3 * loss, (states, items))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(found[0], wanted[0])
    torch.testing.assert_close(found[1], wanted[1])


def test_items_left_out_do_not_compete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sasrec, "_CHUNK_LOGITS", 16 * 11)
    set_seed(0)
    states = torch.randn(37, 8, requires_grad=True)
    items = torch.randn(11, 8, requires_grad=True)
    targets = torch.randint(0, 11, (37,))
    left_out = torch.randint(-1, 11, (37, 4))
    left_out[:, 3] = targets  # which competes all the same
    gone = torch.zeros(37, 12).scatter_(1, left_out.clamp(min=-1) % 12, 1.0)[:, :11].bool()
    gone[torch.arange(37), targets] = False
    expected = F.cross_entropy((states @ items.T).masked_fill(gone, -torch.inf), targets)
    loss = full_loss(states, items, targets, left_out)
    torch.testing.assert_close(loss, expected)
    for found, wanted in zip(
        torch.autograd.grad(loss, (states, items)),
        torch.autograd.grad(expected, (states, items)),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted)


def test_full_loss_by_hand() -> None:
    # logits (0, log 3): the softmax is (1/4, 3/4)
    states, items = torch.tensor([[1.0]]), torch.tensor([[1.0], [3.0]]).log()
    assert float(full_loss(states, items, torch.tensor([0]))) == pytest.approx(np.log(4))
    assert float(full_loss(states, items, torch.tensor([1]))) == pytest.approx(np.log(4 / 3))


def test_full_loss_bears_large_logits_and_no_rows() -> None:
    states, items = torch.tensor([[1e4]]), torch.tensor([[1.0], [0.0]])
    assert float(full_loss(states, items, torch.tensor([0]))) == 0
    assert float(full_loss(states, items, torch.tensor([1]))) == 1e4
    none = full_loss(torch.zeros(0, 1), items, torch.zeros(0, dtype=torch.int64))
    assert float(none) == 0


def test_a_large_catalogue_is_trained_by_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sasrec, "FULL_SOFTMAX_ITEMS", N_ITEMS - 1)
    model = small()
    assert metrics_of(model, rings().held_out("valid"))["recall@5"] > 0.99


def test_long_sequences_are_learnt_whole() -> None:
    """The first steps of a long walk are trained on, though a window is 4 items."""
    walk = [[(start + i) % 30 for i in range(30)] for start in (0, 1) for _ in range(30)]
    ids = tuple(str(i) for i in range(30))
    users = tuple(str(u) for u in range(60))
    data = Dataset("walks", users, ids, Histories.from_lists(walk), ids)
    model = train_cf(
        data, TrainingOptions(epochs=15, batch_size=64, learning_rate=0.02),
        dim=16, layers=1, dropout=0.0, max_history=4,
    )  # fmt: skip
    assert model.scores(torch.tensor([[2, 3, 4], [25, 26, -1]])).argmax(1).tolist() == [5, 27]


def test_ranking_by_hand() -> None:
    """Items score by their first coordinate alone, so every target's rank is known."""
    model = untrained(n_items=12)
    with torch.no_grad():
        model.norm.weight.zero_()
        model.norm.bias.zero_()
        model.norm.bias[0] = 1.0
        model.items.weight[:, 0] = -torch.arange(12.0)
    histories = Histories.from_lists([[3], [4], [5]])
    cases = HeldOut(np.arange(3), histories, np.array([0, 2, 7], dtype=np.int32))
    metrics = metrics_of(model, cases, batch_size=2)  # ranks 0, 2, 7
    assert metrics["recall@5"] == pytest.approx(2 / 3)
    assert metrics["recall@10"] == pytest.approx(1)
    assert metrics["ndcg@5"] == pytest.approx((1 + 1 / 2) / 3)
    assert metrics["ndcg@10"] == pytest.approx((1 + 1 / 2 + 1 / np.log2(9)) / 3)


def test_other_item_embeddings_can_take_their_place(trained: SASRec, tmp_path: Path) -> None:
    data = rings()
    trained.save(tmp_path / "sasrec.safetensors", data.item_ids)
    model = SASRec.load(tmp_path / "sasrec.safetensors", data.item_ids)
    model.use_item_embeddings(np.roll(trained.item_embeddings(), 1, axis=0))
    history = torch.tensor([[0, 1, 2]])
    assert not torch.equal(model.scores(history), trained.scores(history))
    rolled = model.scores(history + 1)  # the items under their new rows
    torch.testing.assert_close(rolled, trained.scores(history).roll(1, 1))
    for wrong in (np.zeros((3, 16), np.float32), np.full((N_ITEMS, 16), np.nan, np.float32)):
        with pytest.raises(DataError, match=r"give finite numbers of shape \(24, 16\)"):
            model.use_item_embeddings(wrong)


def test_weights_of_an_earlier_version_load(trained: SASRec) -> None:
    earlier = {
        "norm_attention": "attention_norm",
        "query_key_value": "queries_keys_values",
        "output": "attended",
        "norm_mlp": "feed_forward.0",
        "mlp.0": "feed_forward.1",
        "mlp.2": "feed_forward.3",
    }
    weights = {}
    for name, weight in trained.state_dict().items():
        for now, before in earlier.items():
            name = name.replace(f".{now}.", f".{before}.")
        weights[name] = weight
    assert "blocks.0.feed_forward.3.bias" in weights
    again = SASRec(**trained.settings)
    again.load_state_dict(weights)
    histories = torch.tensor([[0, 1, 2], [7, -1, -1]])
    assert again.eval().scores(histories).equal(trained.scores(histories))


def test_a_saved_sasrec_gives_the_same_scores(trained: SASRec, tmp_path: Path) -> None:
    ids = rings().item_ids
    trained.save(tmp_path / "sasrec.safetensors", ids)
    again = SASRec.load(tmp_path / "sasrec.safetensors", ids)
    history = torch.tensor([[0, 1, 2], [9, 10, -1]])
    assert torch.equal(again.scores(history), trained.scores(history))
    with pytest.raises(RunError, match="made for other items, or for another order"):
        SASRec.load(tmp_path / "sasrec.safetensors", ids[::-1])
    write_tensors(tmp_path / "cf.safetensors", {"embeddings": torch.zeros(3, 4)})
    with pytest.raises(RunError, match="holds no SASRec"):
        SASRec.load(tmp_path / "cf.safetensors", ids)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(SettingsError, match=r"dim = 30 is not a multiple of .*heads = 4; change"):
        SASRec(n_items=5, dim=30, heads=4)


def test_a_log_without_training_interactions_is_refused() -> None:
    ids = ("a", "b", "c")
    data = Dataset("short", ("u",), ids, Histories.from_lists([[0, 1, 2]]), ids)
    with pytest.raises(DataError, match="short: no user has two or more training interactions"):
        train_cf(data, TrainingOptions())


def catalogue(*item_ids: str, given: Any = None) -> Dataset:
    return Dataset("shop", (), item_ids, Histories.from_lists([]), item_ids, given_cf=given)


ABC = catalogue("a", "b", "c")
MATRIX = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_given_embeddings_are_read_from_every_format(tmp_path: Path) -> None:
    tensor = torch.from_numpy(MATRIX)
    np.save(tmp_path / "a.npy", MATRIX)
    np.save(tmp_path / "b.npy", MATRIX.astype(np.float64))
    torch.save(tensor, tmp_path / "c.pt")
    torch.save({"weight": tensor.double(), "bias": torch.ones(3)}, tmp_path / "d.pth")
    torch.save(torch.nn.Parameter(tensor.half()), tmp_path / "e.pt")
    save_file({"anything": tensor}, tmp_path / "f.safetensors")
    ids = fingerprint(ABC.item_ids)
    write_tensors(tmp_path / "g.safetensors", {"embeddings": tensor}, {"items": ids})
    for path in sorted(tmp_path.iterdir()):
        found = given_cf(path, ABC, dim=4, order="rows")
        assert found.dtype == np.float32, path
        assert found.flags.c_contiguous
        assert np.array_equal(found, MATRIX), path
        assert np.array_equal(given_cf(str(path), ABC, order="rows"), MATRIX)


def refused(path: Path, dim: int | None = 4, dataset: Dataset = ABC) -> str:
    with pytest.raises(DataError) as caught:
        given_cf(path, dataset, dim=dim, order="rows")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"CF embeddings {path}: ")
    return message.removeprefix(f"CF embeddings {path}: ")


def test_given_embeddings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    def answer(array: Any, **options: Any) -> str:
        np.save(tmp_path / "cf.npy", array)
        return refused(tmp_path / "cf.npy", **options)

    broken = MATRIX.copy()
    broken[1, 2] = np.nan
    broken[2, 0] = np.inf
    rows = "give one row per item, in the order of the items"
    assert answer(MATRIX[:2]) == f"2 rows for 3 items; {rows}"
    padded = np.vstack([np.zeros((1, 4), np.float32), MATRIX])
    assert answer(padded) == f"4 rows for 3 items; {rows} (drop the padding item's row)"
    assert answer(MATRIX, dim=32).startswith("4 columns, expected 32; set collaborative.dim")
    assert answer(MATRIX.astype(np.int64)) == (
        "int64 of shape (3, 4); expected floating-point numbers of shape (3, 4)"
    )
    assert answer(MATRIX.astype(np.complex64)).startswith("complex64 of shape (3, 4)")
    assert answer(MATRIX[0], dim=None).endswith("shape (3, any)")
    assert answer(broken) == "2 rows hold NaN or infinity; train anew"


def test_embeddings_of_other_items_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cf.safetensors"
    about = {"items": fingerprint(ABC.item_ids)}
    write_tensors(path, {"embeddings": torch.from_numpy(MATRIX)}, about)
    message = refused(path, dataset=catalogue("b", "a", "c"))
    assert message.startswith("made for other items, or for another order of them; ")


class Evil:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["evil.pt", "evil.npy", "evil.safetensors"])
def test_no_file_can_run_code(name: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    with (tmp_path / name).open("wb") as file:
        if name.endswith("npy"):
            np.save(file, np.array([Evil(victim)], dtype=object), allow_pickle=True)
        else:
            file.write(pickle.dumps(Evil(victim)))
    assert "of plain numbers; save the matrix alone" in refused(tmp_path / name)
    torch.save({"a": Evil(victim)}, tmp_path / "zipped.pt")
    assert "of plain numbers; save the matrix alone" in refused(tmp_path / "zipped.pt")
    assert not victim.exists()


def test_files_that_are_no_embeddings_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "gone.npy").startswith("there is no such file; ")
    (tmp_path / "cf.csv").write_text("1,2\n")
    assert refused(tmp_path / "cf.csv").startswith("expected a .parquet, .npz, ")
    for name in ("empty.pt", "empty.npy", "empty.safetensors"):
        (tmp_path / name).write_bytes(b"")
        assert "not a readable" in refused(tmp_path / name)
    torch.save(torch.from_numpy(MATRIX), tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:200])
    assert "not a readable .pt file" in refused(tmp_path / "cut.pt")
    matrix = torch.from_numpy(MATRIX)
    torch.save({"a": matrix, "b": matrix}, tmp_path / "two.pt")
    assert refused(tmp_path / "two.pt").startswith("holds 2 matrices (a, b); save the item")
    torch.save({"a": 1}, tmp_path / "none.pt")
    assert refused(tmp_path / "none.pt").startswith("holds 0 matrices (none)")
    torch.save([1.0, 2.0], tmp_path / "list.pt")
    assert refused(tmp_path / "list.pt").startswith("list of shape ()")


def test_embeddings_that_came_with_the_data_are_checked_alike() -> None:
    data = catalogue("a", "b", "c", given=MATRIX)
    assert np.array_equal(given_cf("given", data, dim=4), MATRIX)
    with pytest.raises(DataError, match="CF embeddings that came with the data: 4 columns, expect"):
        given_cf("given", data, dim=32)
    with pytest.raises(DataError, match="no CF embeddings came with shop; give a file of vectors"):
        given_cf("given", ABC)


def test_the_published_embeddings_can_be_given() -> None:
    folder = os.environ.get("LETTERREC_DATA")
    if not folder:
        pytest.skip("set LETTERREC_DATA to a folder with Beauty/Beauty-32d-sasrec.pt")
    path = Path(folder) / "Beauty" / "Beauty-32d-sasrec.pt"
    embeddings = given_cf(path, catalogue(*map(str, range(12_101))), dim=32, order="rows")
    assert embeddings.shape == (12_101, 32)


def test_embeddings_of_another_width_are_refused_before_anything_is_trained(
    shop: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "cf.npy", np.ones((60, 4), dtype=np.float32))
    settings = small_settings(f"collaborative.source={tmp_path / 'cf.npy'}")
    with pytest.raises(DataError, match="4 columns, expected 32"):
        api.fit(shop, tmp_path / "run", settings)
    assert set(Run.open(tmp_path / "run").about["stages"]) == {"read"}
