"""Runs that share work: what is equal is taken over, and nothing else is."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conftest import small_settings
from letterrec import api
from letterrec.config.loading import load_settings
from letterrec.data import read
from letterrec.errors import RunError
from letterrec.evaluation.metrics import summarise
from letterrec.runs.reuse import deciding
from letterrec.runs.run import Run

IDENTIFIERS = ("content", "collaborative", "tokenizer", "identifiers")
LEARNED = (*IDENTIFIERS, "recommender")


def taken_over(run: Run) -> set[str]:
    return {name for name, record in run.about["stages"].items() if "from" in record}


def test_what_is_equal_is_taken_over(shop: Path, shop_run: Path, tmp_path: Path) -> None:
    settings = small_settings("recommender.temperature=0.7", "training.epochs=1")
    run = api.fit(shop, tmp_path / "a", settings, reuse=[tmp_path, shop_run])
    assert taken_over(run) == set(IDENTIFIERS)
    identifiers = pl.read_parquet(shop_run / "identifiers.parquet")
    assert pl.read_parquet(run.folder / "identifiers.parquet").equals(identifiers)
    assert run.diagnostics() == api.inspect(shop_run)
    assert api.load(run.folder).recommend([["i01"]], k=3)


def test_a_run_can_end_with_its_identifiers(shop: Path, shop_run: Path, tmp_path: Path) -> None:
    settings = small_settings("tokenizer.alpha=0.5")
    run = api.fit(shop, tmp_path / "a", settings, reuse=str(shop_run), until="identifiers")
    assert taken_over(run) == {"content", "collaborative"}
    assert run.is_done("identifiers")
    assert not run.is_done("recommender")


@pytest.mark.parametrize(
    ("override", "shared"),
    [
        ("training.epochs=2", set(IDENTIFIERS)),
        ("transitions.enabled=false", set(LEARNED)),
        ("tokenizer.beta=0.1", {"content", "collaborative"}),
        ("identifiers.source=titles", {"content", "collaborative"}),
        ("collaborative.dropout=0.4", {"content"}),
        ("data.max_history=9", {"content"}),
        ("seed=1", {"content"}),
        ("content.max_tokens=9", {"collaborative"}),
    ],
)
def test_each_setting_decides_its_stages(override: str, shared: set[str]) -> None:
    one, other = load_settings(), load_settings(None, [override])
    same = {stage for stage in LEARNED if deciding(one, stage) == deciding(other, stage)}
    assert same == shared


def test_embeddings_from_a_file_are_never_taken_over() -> None:
    settings = load_settings(None, ["collaborative.source=cf.npy"])
    assert deciding(settings, "collaborative") is None
    assert deciding(settings, "identifiers") is None


def test_other_texts_are_other_data(shop: Path, shop_run: Path, tmp_path: Path) -> None:
    changed = tmp_path / "shop"
    shutil.copytree(shop, changed)
    with (changed / "items.csv").open() as file:
        lines = list(csv.reader(file))
    lines[1][1] = "another title"
    with (changed / "items.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    run = api.fit(changed, tmp_path / "a", small_settings(), reuse=[shop_run], until="identifiers")
    assert not taken_over(run)


def test_a_run_keeps_the_ranks_behind_its_metrics(shop: Path, shop_run: Path) -> None:
    run = Run.open(shop_run)
    metrics = run.metrics()
    for split in ("valid", "test"):
        ranks = run.ranks(split)
        assert ranks.shape == (read(shop).n_users,)
        assert summarise(ranks) == metrics[split]["metrics"]
    assert (run.ranks("valid") != run.ranks("test")).any()
    assert ranks.dtype == np.int64


@pytest.mark.slow
def test_a_resumed_run_sees_what_changed_beside_the_interactions(
    shop: Path, shop_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And one that is finished says that nothing is left to do."""
    source, folder = tmp_path / "shop", tmp_path / "run"
    shutil.copytree(shop, source)
    shutil.copytree(shop_run, folder)
    api.fit(source, folder, small_settings(), resume=True)
    assert "this run is finished; nothing is left to do" in capsys.readouterr().err
    items = (source / "items.csv").read_text()
    (source / "items.csv").write_text(items.replace("red lipstick no. 0,", "blue lipstick no. 0,"))
    with pytest.raises(RunError, match="other data: the texts of the source have changed"):
        api.fit(source, folder, small_settings(), resume=True)
    assert "nothing is left to do" not in capsys.readouterr().err
    (source / "items.csv").write_text(items)
    lines = (source / "interactions.csv").read_text().splitlines()
    (source / "interactions.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(RunError, match="other data: the interactions "):
        api.fit(source, folder, small_settings(), resume=True)
