"""Vectors from outside belong to items by their ids, never by chance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from command import letterrec
from conftest import SMALL
from letterrec.config.loading import load_settings
from letterrec.data.dataset import Dataset
from letterrec.data.sequences import Histories
from letterrec.data.vectors import read_vectors
from letterrec.errors import DataError, SettingsError
from letterrec.runs.run import Run

ITEMS = ("7", "b", "03")  # the data's order
SHOP = Dataset("shop", (), ITEMS, Histories.from_lists([]), ITEMS)
OF = {"03": [3.0, 3.5], "7": [7.0, 7.5], "b": [1.0, 1.5], "gone": [np.nan, 0.0]}
EXPECTED = np.array([OF[item] for item in ITEMS], dtype=np.float32)
IDS = list(OF)  # another order, and an item that the data do not have
ROWS = np.array(list(OF.values()), dtype=np.float32)


def parquet_of_lists(path: Path) -> None:
    pl.DataFrame({"item": IDS, "vector": ROWS.tolist()}).write_parquet(path)


def parquet_of_arrays(path: Path) -> None:
    vectors = pl.Series(ROWS.tolist(), dtype=pl.Array(pl.Float32, 2))
    pl.DataFrame({"vector": vectors, "item": IDS}).write_parquet(path)


def parquet_of_columns(path: Path) -> None:
    pl.DataFrame({"item": IDS, "d0": ROWS[:, 0], "d1": ROWS[:, 1]}).write_parquet(path)


def npz_of_embeddings(path: Path) -> None:
    np.savez(path, ids=np.array(IDS), embeddings=ROWS)


def npz_of_vectors(path: Path) -> None:
    np.savez_compressed(path, ids=np.array(IDS), vectors=ROWS.astype(np.float64))


def npy(path: Path) -> None:
    np.save(path, ROWS)


def pt(path: Path) -> None:
    torch.save(torch.from_numpy(ROWS), path)


def safetensors(path: Path) -> None:
    save_file({"weight": torch.from_numpy(ROWS)}, path)


WITH_IDS: dict[str, Callable[[Path], None]] = {
    "lists.parquet": parquet_of_lists,
    "arrays.parquet": parquet_of_arrays,
    "columns.parquet": parquet_of_columns,
    "a[1].npz": npz_of_embeddings,
    "b.NPZ": npz_of_vectors,
}
WITHOUT_IDS: dict[str, Callable[[Path], None]] = {
    "a.npy": npy,
    "b.pt": pt,
    "c.safetensors": safetensors,
}


def vectors(path: Path, **options: Any) -> np.ndarray:
    return read_vectors(path, SHOP, what="CF embeddings", setting="collaborative", **options)


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        vectors(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message or str(options["ids"]) in message
    return message


@pytest.mark.parametrize("name", WITH_IDS)
def test_ids_in_the_file_bring_vectors_into_the_order_of_the_data(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = tmp_path / name
    with path.open("wb") as file:  # np.savez gives a name another ending
        WITH_IDS[name](file)  # type: ignore[arg-type]
    found = vectors(path)
    assert found.dtype == np.float32
    assert np.array_equal(found, EXPECTED)
    assert "1 rows of items that the data do not have are left out" in caplog.text
    assert "has ids" in refused(path, order="rows")


@pytest.mark.parametrize("name", WITHOUT_IDS)
@pytest.mark.parametrize("table", ["ids.txt", "ids.csv", "ids.tsv", "ids.parquet"])
def test_ids_in_a_file_of_their_own_do_the_same(name: str, table: str, tmp_path: Path) -> None:
    WITHOUT_IDS[name](tmp_path / name)
    ids = tmp_path / table
    if table == "ids.txt":
        ids.write_text("\n".join(IDS) + "\n", encoding="utf-8-sig")
    elif table == "ids.parquet":
        pl.DataFrame({"item": IDS}).write_parquet(ids)
    else:
        between = "," if table == "ids.csv" else "\t"
        ids.write_text(
            "".join(f"{a}{between}{b}\n" for a, b in [("title", "item")] + [("x", i) for i in IDS])
        )
    assert np.array_equal(vectors(tmp_path / name, ids=ids), EXPECTED)
    message = refused(tmp_path / name)
    assert "does not say which item a row belongs to" in message
    assert "collaborative.ids=FILE" in message
    assert "collaborative.order=rows" in message


def test_whole_numbers_are_ids_however_they_are_stored(tmp_path: Path) -> None:
    numbers = Dataset("n", (), ("2", "1", "3"), Histories.from_lists([]), ("2", "1", "3"))
    matrix = np.array([[1.0], [2.0], [3.0]])
    for i, ids in enumerate(([1, 2, 3], [1.0, 2.0, 3.0], ["1.0", " 2", "3"])):
        pl.DataFrame({"item": ids, "d": matrix[:, 0]}).write_parquet(tmp_path / f"{i}.parquet")
        np.savez(tmp_path / f"{i}.npz", ids=np.array(ids), embeddings=matrix)
        for name in (f"{i}.parquet", f"{i}.npz"):
            found = read_vectors(tmp_path / name, numbers, what="w", setting="s")
            assert found[:, 0].tolist() == [2, 1, 3]


def test_ids_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cf.npz"

    def answer(ids: Any, matrix: Any = ROWS) -> str:
        np.savez(path, ids=np.array(ids), embeddings=matrix)
        return refused(path).removeprefix(f"CF embeddings {path}: ")

    assert answer(["7", "7", "b", "03"]).startswith("item '7' has two rows (1 and 2)")
    assert answer(["7", "b", "03"]).startswith("3 ids for 4 rows")
    missing = answer(["7", "x", "y", "z"])
    assert missing.startswith("no row for 2 of 3 items, for example 'b' (ids there look like '7')")
    assert answer(["7", "b", "03", ""]).startswith("row 4 has no item id")
    assert answer([True, False, True, False]).startswith("row 1: True is no id")
    assert answer(["gone", "b", "03", "7"]).startswith("1 rows hold NaN or infinity")
    assert answer(IDS, np.zeros((4, 2), int)).startswith("int64 of shape (4, 2); expected floating")
    assert answer(IDS, np.full((4, 2), 1e300)).startswith("3 rows hold NaN or infinity")
    assert answer(IDS, np.zeros((4, 0))).startswith("0 columns, expected at least one")


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cf.parquet"

    def answer(table: dict[str, Any]) -> str:
        pl.DataFrame(table).write_parquet(path)
        return refused(path)

    assert "no column 'item'; columns there: id, v" in answer({"id": IDS, "v": ROWS.tolist()})
    assert "one column of lists" in answer({"item": IDS, "title": IDS})
    assert "not all of one length" in answer({"item": ["a", "b"], "v": [[1.0], [1.0, 2.0]]})
    assert "not all of one length" in answer({"item": ["a", "b"], "v": [[1.0], None]})
    np.savez(tmp_path / "x.npz", table=ROWS)
    assert "holds table; expected 'ids' and 'embeddings'" in refused(tmp_path / "x.npz")
    npy(tmp_path / "cf.npy")
    assert "no such file" in refused(tmp_path / "cf.npy", ids=tmp_path / "ids.csv")
    (tmp_path / "ids.csv").write_text("id\n7\n")
    assert "no column 'item'" in refused(tmp_path / "cf.npy", ids=tmp_path / "ids.csv")
    (tmp_path / "ids.parquet").write_text("7")
    assert "cannot be read" in refused(tmp_path / "cf.npy", ids=tmp_path / "ids.parquet")
    for name in ("cut.npz", "cut.parquet", "cut.npy", "cut.safetensors", "cut.pt"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 no archive")
        assert "not a readable" in refused(tmp_path / name)
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
        assert "not a readable" in refused(tmp_path / name)


def test_an_index_is_no_dimension(tmp_path: Path) -> None:
    path = tmp_path / "cf.parquet"
    pl.DataFrame({"item": IDS, "index": [0, 1, 2, 3], "d0": ROWS[:, 0]}).write_parquet(path)
    message = refused(path)
    assert "'index' holds whole numbers beside columns of fractions" in message


def test_a_sparse_tensor(tmp_path: Path) -> None:
    torch.save(torch.from_numpy(ROWS[:3] + 0).to_sparse(), tmp_path / "cf.pt")
    found = read_vectors(tmp_path / "cf.pt", SHOP, what="CF", setting="collaborative", order="rows")
    assert np.array_equal(found, ROWS[:3])


def test_ids_go_with_a_file() -> None:
    with pytest.raises(SettingsError, match=r"collaborative\.ids .* 'train' is none"):
        load_settings(None, ["collaborative.ids=ids.txt"])


@pytest.mark.slow
def test_a_fit_keeps_each_items_own_vector(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The order of another tool is not that of the run; without ids they cannot be told apart."""
    ids = pl.read_csv(shop / "items.csv")["item"].to_list()[::-1]
    matrix = np.random.default_rng(0).normal(size=(len(ids), 32)).astype(np.float32)
    np.save(tmp_path / "cf.npy", matrix)
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    settings = [part for s in (*SMALL, "training.epochs=1") for part in ("--set", s)]
    settings += ["--set", f"collaborative.source={tmp_path / 'cf.npy'}"]
    fit = ["fit", shop, "--out", tmp_path / "run", *settings]
    assert letterrec(*fit) == 2
    assert "does not say which item a row belongs to" in capsys.readouterr().err
    fit += ["--set", f"collaborative.ids={tmp_path / 'ids.txt'}"]
    assert letterrec(*fit) == 0
    run = Run.open(tmp_path / "run")
    kept = run.embeddings("collaborative", len(ids))
    assert kept is not None
    order = run.dataset().item_ids
    assert list(order) != ids
    assert np.array_equal(kept, matrix[[ids.index(item) for item in order]])
    for name in ("cf.npy", "ids.txt"):
        (tmp_path / name).unlink()
    assert letterrec(*fit, "--resume") == 0  # what the run has is not asked for again
