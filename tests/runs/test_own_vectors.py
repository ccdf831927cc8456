"""Content embeddings from a file, in place of those of an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import letterrec
from command import letterrec as command
from conftest import N_ITEMS, small_settings, write_shop
from letterrec.data.text import item_text
from letterrec.errors import LetterRecError
from letterrec.serving.editing.editor import Editor
from letterrec.serving.editing.edits import AddItems

IDS = [f"i{i:02d}" for i in range(N_ITEMS)]
VECTORS = np.random.default_rng(0).normal(size=(N_ITEMS, 24)).astype(np.float32)
QUICK = [
    "tokenizer.training.epochs=1",
    "tokenizer.codes=8",
    "training.epochs=1",
    "collaborative.training.epochs=1",
    "transitions.enabled=false",
]


def write(folder: Path, kind: str) -> Path:
    path = folder / f"vectors.{kind}"
    if kind == "npz":
        np.savez(path, ids=np.array(IDS[::-1]), embeddings=VECTORS[::-1])
    elif kind == "parquet":
        pl.DataFrame({"item": IDS, "vector": VECTORS.tolist()}).write_parquet(path)
    else:
        np.save(path, VECTORS)
        (folder / "ids.txt").write_text("\n".join(IDS))
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on items without texts, whose content is a file of vectors."""
    folder = tmp_path_factory.mktemp("own")
    shop = write_shop(folder / "shop")
    (shop / "items.csv").unlink()
    chosen = small_settings(*QUICK, f"content.source={write(folder, 'parquet')}")
    letterrec.fit(shop, folder / "run", chosen, progress=False)
    return folder


@pytest.mark.slow
def test_a_run_takes_them_and_does_not_need_the_file_again(fitted: Path) -> None:
    engine = letterrec.load(fitted / "run")
    assert engine.content is not None
    assert np.array_equal(engine.content, VECTORS)
    assert len(engine.recommend([["i01", "i02"]], k=5)[0]) == 5
    stage: Any = engine.settings.content
    assert stage.maker.endswith("vectors.parquet")


@pytest.mark.slow
def test_new_items_come_by_the_file_and_not_by_their_texts(fitted: Path, tmp_path: Path) -> None:
    engine = letterrec.load(fitted / "run")
    with pytest.raises(LetterRecError, match="cannot take new items by their texts"):
        Editor(engine).make(AddItems({"new": item_text("a lamp")}))
    log = pl.read_csv(fitted / "shop" / "interactions.csv")
    more = log.filter(pl.col("item") == "i05").with_columns(item=pl.lit("new"))
    newer = pl.concat([log, more.with_columns(timestamp=pl.col("timestamp") + 1)])
    with pytest.raises(LetterRecError, match="no row for 1 of 61 items, for example 'new'"):
        letterrec.refit(fitted / "run", tmp_path / "refused", data=newer, progress=False)
    path = fitted / "vectors.parquet"
    before = path.read_bytes()
    table = {"item": [*IDS, "new"], "vector": [*VECTORS.tolist(), VECTORS[5].tolist()]}
    pl.DataFrame(table).write_parquet(path)
    made = letterrec.refit(fitted / "run", tmp_path / "newer", data=newer, progress=False)
    path.write_bytes(before)
    found = letterrec.load(made)
    assert found.content is not None
    row = found.dataset.item_rows["new"]
    assert np.array_equal(found.content[row], VECTORS[5])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_each_kind_of_file(tmp_path: Path, kind: str) -> None:
    shop = write_shop(tmp_path / "shop")
    more = [f"content.ids={tmp_path / 'ids.txt'}"] if kind == "npy" else []
    chosen = small_settings(*QUICK, f"content.source={write(tmp_path, kind)}", *more)
    run = letterrec.fit(shop, tmp_path / "run", chosen, until="identifiers", progress=False)
    assert np.array_equal(run.embeddings("content", N_ITEMS), VECTORS)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (["content.source=clip"], "expected 'auto', 'text', 'collaborative' or a file"),
        (["content.source=nowhere.parquet"], "no such file"),
        (["content.source=FILE"], "no row for 59 of 60 items"),
        (["content.source=text", "content.ids=ids.txt"], "are of a file of vectors"),
        (["content.source=FILE", "data.cold_share=0.1"], "data.cold_share = 0"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(
    shop: Path, tmp_path: Path, changed: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "one.parquet"
    pl.DataFrame({"item": IDS[:1], "vector": VECTORS[:1].tolist()}).write_parquet(path)
    sets = [w for c in changed for w in ("--set", c.replace("FILE", str(path)))]
    assert command("fit", shop, "--out", tmp_path / "run", *sets) == 2
    assert words in capsys.readouterr().err
