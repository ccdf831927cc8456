from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from letterrec.data import Dataset, Histories
from letterrec.data.saved import read_dataset, write_dataset
from letterrec.errors import RunError


def a_dataset() -> Dataset:
    return Dataset(
        name="Ünïcode",
        user_ids=("10", "9", "ü"),
        item_ids=("b", "a"),
        interactions=Histories.from_lists([[0, 1, 0], [], [1]]),
        titles=("Zahnbürste", "a"),
        texts=("Zahnbürste. neu", "a"),
        warnings=("1 item without text",),
    )


@pytest.mark.parametrize(
    ("texts", "preferences", "categories"),
    [
        (("Zahnbürste. neu", "a"), None, (("Bad", "Zähne"), ())),
        (None, ("mild", "", "grün"), None),
    ],
    ids=["texts", "preferences"],
)
def test_a_written_dataset_comes_back_exactly(
    tmp_path: Path,
    texts: tuple[str, ...] | None,
    preferences: tuple[str, ...] | None,
    categories: tuple[tuple[str, ...], ...] | None,
) -> None:
    images = None if categories is None else ("https://shop.example/z.jpg", "")
    dataset = replace(
        a_dataset(), texts=texts, preferences=preferences, categories=categories, images=images
    )
    write_dataset(dataset, tmp_path)
    again = read_dataset(tmp_path)
    for field in fields(Dataset):
        if field.name != "interactions":
            assert getattr(again, field.name) == getattr(dataset, field.name)
    for part in ("offsets", "items"):
        old, new = getattr(dataset.interactions, part), getattr(again.interactions, part)
        assert old.dtype == new.dtype
        np.testing.assert_array_equal(old, new)
    assert again.fingerprint == dataset.fingerprint


def test_the_files_are_plain_parquet(tmp_path: Path) -> None:
    write_dataset(a_dataset(), tmp_path)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["interactions.parquet", "items.parquet"]
    assert pl.read_parquet(tmp_path / "interactions.parquet").to_dict(as_series=False) == {
        "user": ["10", "9", "ü"],
        "items": [[0, 1, 0], [], [1]],
    }


@pytest.mark.parametrize(
    "sequences", [[[0, 1], [1, 0], [1, 1]], [[0], [1], [0]], [[], [], []], [[0], [], [1, 1]]]
)
def test_the_types_of_a_file_do_not_depend_on_its_data(
    tmp_path: Path, sequences: list[list[int]]
) -> None:
    dataset = replace(a_dataset(), interactions=Histories.from_lists(sequences))
    write_dataset(dataset, tmp_path)
    schema = pl.read_parquet_schema(tmp_path / "interactions.parquet")
    assert schema == {"user": pl.String, "items": pl.List(pl.Int32)}
    again = read_dataset(tmp_path).interactions
    assert [h.tolist() for h in again] == sequences
    assert again.items.dtype == np.int32


def test_a_file_that_was_written_as_an_array_is_read(tmp_path: Path) -> None:
    """As the version before wrote users who all had equally many interactions."""
    sequences = [[0, 1], [1, 0], [1, 1]]
    dataset = replace(a_dataset(), interactions=Histories.from_lists(sequences))
    write_dataset(dataset, tmp_path)
    path = tmp_path / "interactions.parquet"
    about = {k: v for k, v in pl.read_parquet_metadata(path).items() if k != "ARROW:schema"}
    arrays = pl.read_parquet(path).cast({"items": pl.Array(pl.Int32, 2)})
    arrays.write_parquet(path, metadata=about)
    assert isinstance(pl.read_parquet_schema(path)["items"], pl.Array)
    assert [h.tolist() for h in read_dataset(tmp_path).interactions] == sequences


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"lacks interactions.parquet .* fit it with --resume"):
        read_dataset(tmp_path)
    write_dataset(a_dataset(), tmp_path)
    (tmp_path / "items.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(RunError, match=r"are damaged .*; fit the run again"):
        read_dataset(tmp_path)
