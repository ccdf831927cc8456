"""Recommendations for all users: complete, the same as asked one by one, resumable."""

from __future__ import annotations

import gzip
import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import letterrec
from letterrec.errors import RequestError, RunError
from letterrec.serving.bulk import recommend_all
from letterrec.serving.engine import Engine
from ranking import assert_same_ranking


@pytest.fixture(scope="module")
def engine(shop_run: Path) -> Engine:
    return letterrec.load(shop_run)


def test_every_user_gets_the_list_that_the_python_call_gives(
    engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "recs.parquet"
    assert recommend_all(engine, path, k=3, part=40) == 150
    frame = pl.read_parquet(path)
    assert frame["user"].unique(maintain_order=True).to_list() == list(engine.dataset.user_ids)
    assert frame["rank"].to_list() == [1, 2, 3] * 150
    users = ["u0", "u77", "u149"]
    for user, expected in zip(
        users, engine.recommend([engine.history_of(u) for u in users], k=3), strict=True
    ):
        rows = frame.filter(pl.col("user") == user)
        assert_same_ranking(rows.select("item", "log_probability").rows(), expected)
        assert rows["title"].to_list() == [engine.titles[item] for item in rows["item"]]
    assert [p.name for p in tmp_path.iterdir()] == ["recs.parquet"]


class Killed(BaseException):
    """Stands for a SIGKILL in the middle."""


def test_a_killed_command_goes_on_where_it_was(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole.parquet"
    recommend_all(engine, whole, k=3, part=40)
    path = tmp_path / "recs.parquet"
    answered = []
    answer = Engine.answer

    def until_killed(self: Engine, queries: list[object]) -> object:
        if len(answered) == 2:
            raise Killed
        answered.append(len(queries))
        return answer(self, queries)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "answer", until_killed)
    with pytest.raises(Killed):
        recommend_all(engine, path, k=3, part=40)
    assert not path.exists()
    kept = sorted((tmp_path / "recs.parquet.parts").glob("0*.parquet"))
    times = [os.stat(p).st_mtime_ns for p in kept]
    assert len(kept) == 2
    answered[:] = [0]
    with pytest.raises(Killed):
        recommend_all(engine, path, k=3, part=40)
    assert [os.stat(p).st_mtime_ns for p in kept] == times
    answered.clear()
    recommend_all(engine, path, k=3, part=40)
    assert answered == [30]  # the last of four parts alone was left
    assert pl.read_parquet(path).equals(pl.read_parquet(whole))


def test_parts_of_another_job_are_not_used(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "recs.parquet"
    parts = tmp_path / "recs.parquet.parts"
    parts.mkdir()
    (parts / "_job.json").write_text('"another"')
    pl.DataFrame({"user": ["stranger"]}).write_parquet(parts / f"{0:012d}.parquet")
    recommend_all(engine, path, k=2, part=100)
    assert "stranger" not in pl.read_parquet(path)["user"].to_list()


@pytest.mark.parametrize("name", ["recs.csv", "recs.jsonl", "recs.csv.gz", "recs.jsonl.gz"])
def test_the_ending_says_how_it_is_written(engine: Engine, tmp_path: Path, name: str) -> None:
    recommend_all(engine, tmp_path / "recs.parquet", k=3, part=40)
    expected = pl.read_parquet(tmp_path / "recs.parquet")
    path = tmp_path / name
    assert recommend_all(engine, path, k=3, part=40) == 150
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    read = pl.read_csv if ".csv" in name else pl.read_ndjson
    data = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    found = read(io.BytesIO(data), schema=expected.schema)
    assert found.drop("log_probability").equals(expected.drop("log_probability"))
    assert np.allclose(found["log_probability"], expected["log_probability"], atol=1e-4)


@pytest.mark.parametrize("name", ["recs", "recs.txt", "recs.json", "recs.xlsx"])
def test_other_endings_are_refused(engine: Engine, tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match=r"expected a name that ends with \.parquet, \.csv"):
        recommend_all(engine, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_something_else_is_not_written_over(engine: Engine, tmp_path: Path) -> None:
    table, text = tmp_path / "recs.parquet", tmp_path / "recs.csv"
    recommend_all(engine, table, k=3)
    text.write_text("what I wrote\n")
    before = table.read_bytes()
    recommend_all(engine, table, k=3)  # the same again
    assert table.read_bytes() == before
    for path, k in ((table, 4), (text, 3)):
        with pytest.raises(RequestError, match=r"may hold something else; .*--force"):
            recommend_all(engine, path, k=k)
    assert table.read_bytes() == before
    assert text.read_text() == "what I wrote\n"
    recommend_all(engine, table, k=4, force=True)
    assert pl.read_parquet(table).height == 600


def test_seen_items_are_scored_when_asked_for(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "recs.parquet"
    recommend_all(engine, path, k=60, exclude_seen=False)
    assert pl.read_parquet(path).height == 60 * 150


def test_a_folder_is_no_file(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"is a folder; name a file, such as recs\.parquet"):
        recommend_all(engine, tmp_path)


def test_a_folder_of_parts_holds_what_one_file_does(engine: Engine, tmp_path: Path) -> None:
    recommend_all(engine, tmp_path / "recs.parquet", k=3, part=40)
    folder = tmp_path / "recs"
    for _ in range(2):  # the second time it is there already
        assert recommend_all(engine, folder, k=3, part=40, load=lambda: engine) == 150
        files = sorted(folder.glob("*.parquet"))
        assert len(files) == 4
        assert pl.read_parquet(files).equals(pl.read_parquet(tmp_path / "recs.parquet"))
    with pytest.raises(RequestError, match=r"may hold something else; .*--force"):
        recommend_all(engine, folder, k=4, part=40, load=lambda: engine)
    with pytest.raises(RequestError, match="is a folder; name a file"):
        recommend_all(engine, folder, k=3, part=40)
    recommend_all(engine, folder, k=4, part=75, load=lambda: engine, force=True)
    assert len(list(folder.glob("*.parquet"))) == 2


def test_lists_of_an_edited_catalogue_are_not_mixed(engine: Engine, tmp_path: Path) -> None:
    edited = letterrec.load(engine.folder)
    edited.catalogue = replace(edited.catalogue, lineage="another")
    with pytest.raises(RunError, match="was edited while it was scored"):
        recommend_all(engine, tmp_path / "recs.parquet", load=lambda: edited)
