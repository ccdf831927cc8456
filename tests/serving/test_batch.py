"""Recommendations for all users: complete, the same as asked one by one, resumable."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

import letterrec
from letterrec.errors import RequestError
from letterrec.serving.batch import recommend_all
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
    (parts / "job.json").write_text('"another"')
    pl.DataFrame({"user": ["stranger"]}).write_parquet(parts / f"{0:012d}.parquet")
    recommend_all(engine, path, k=2, part=100)
    assert "stranger" not in pl.read_parquet(path)["user"].to_list()


def test_a_folder_is_no_file(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"is a folder; name a file, such as recs\.parquet"):
        recommend_all(engine, tmp_path)
