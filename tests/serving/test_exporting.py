"""Embeddings of items and users as files for other tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import letterrec
from command import letterrec as command
from letterrec.data.dataset import Dataset
from letterrec.runs.run import Run


def table(path: Path) -> tuple[list[str], np.ndarray]:
    frame = pl.read_parquet(path)
    return frame[:, 0].to_list(), np.array(frame["embedding"].to_list(), dtype=np.float32)


@pytest.fixture(scope="module")
def folder(shop_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vectors") / "out"
    assert command("export", shop_run, "--embeddings", "--out", out) == 0
    return out


def test_items_have_the_embeddings_of_the_run(shop_run: Path, folder: Path) -> None:
    run = Run.open(shop_run)
    dataset = run.dataset()
    for name in ("content", "collaborative"):
        ids, vectors = table(folder / f"items.{name}.parquet")
        assert ids == list(dataset.item_ids)
        assert np.array_equal(vectors, run.embeddings(name, dataset.n_items))


def test_products_of_users_and_items_are_the_scores_of_sasrec(shop_run: Path, folder: Path) -> None:
    run = Run.open(shop_run)
    dataset: Dataset = run.dataset()
    ids, users = table(folder / "users.collaborative.parquet")
    _, items = table(folder / "items.collaborative.parquet")
    assert ids == list(dataset.user_ids)
    histories = torch.from_numpy(dataset.interactions.padded(run.settings.data.max_history))
    with torch.no_grad():
        scores = run.sasrec(dataset).scores(histories).numpy()
    np.testing.assert_allclose(users @ items.T, scores, atol=1e-3)
    _, means = table(folder / "users.content.parquet")
    _, content = table(folder / "items.content.parquet")
    np.testing.assert_allclose(means[0], content[dataset.interactions[0][-20:]].mean(0), atol=1e-5)


def test_they_go_into_another_run(shop: Path, folder: Path, tmp_path: Path) -> None:
    sets = {
        "content.source": str(folder / "items.content.parquet"),
        "collaborative.source": str(folder / "items.collaborative.parquet"),
        "tokenizer.training.epochs": 1,
        "tokenizer.codes": 8,
    }
    run = letterrec.fit(shop, tmp_path / "run", sets, until="identifiers", progress=False)
    assert np.array_equal(run.embeddings("content", 60), table(folder / "items.content.parquet")[1])


def test_a_run_without_embeddings_is_refused(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    letterrec.fit(shop, tmp_path / "run", recipe="popularity", progress=False)
    assert command("export", tmp_path / "run", "--embeddings", "--out", tmp_path / "out") == 2
    assert "has no embeddings" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
