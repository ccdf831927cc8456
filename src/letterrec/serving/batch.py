"""Recommendations for all users of a run, written as one Parquet file.

Knows how the work is cut into parts, each kept beside the file as soon as it is done, so that a
killed process goes on where it was. Memory does not grow with the number of users. Leaves the
recommending to `Engine`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from letterrec.errors import RequestError
from letterrec.progress import counting, say
from letterrec.serving.engine import Engine
from letterrec.serving.queries import Query
from letterrec.store import atomic_path, fingerprint, read_json, write_json

_PART = 2048  # users per part


def recommend_all(
    engine: Engine, path: Path, *, k: int = 10, exclude_seen: bool = True, part: int = _PART
) -> int:
    """Write the ``k`` best next items of every user.

    Columns: ``user``, ``rank`` (from 1), ``item``, ``title``, ``log_probability``; users in the
    order of the run, best item first.

    Args:
        engine: of the run.
        path: of the Parquet file.
        k: items per user.
        exclude_seen: leave out what a user has already.
        part: users whose recommendations are made and written at a time.

    Returns:
        How many users there are.

    Raises:
        RequestError: ``path`` cannot be written, or is a folder.
    """
    if path.is_dir():
        raise RequestError(f"{path} is a folder; name a file, such as recs.parquet")
    catalogue = engine.catalogue
    job = fingerprint(
        f"{engine.key} {catalogue.generation} {k} {exclude_seen} {part}",
        (engine.folder / "recommender.safetensors").read_bytes(),
    )
    parts = path.with_name(f"{path.name}.parts")
    users = engine.dataset.user_ids
    try:
        _begin(parts, job)
        with counting("recommending", len(users)) as counter:
            for start in range(0, len(users), part):
                chunk = users[start : start + part]
                file = parts / f"{start:012d}.parquet"
                if not file.exists():
                    with atomic_path(file) as temporary:
                        _frame(engine, chunk, k, exclude_seen).write_parquet(temporary)
                counter.advance(len(chunk))
        with atomic_path(path) as temporary:
            pl.scan_parquet(sorted(parts.glob("0*.parquet"))).sink_parquet(temporary)
        shutil.rmtree(parts)
    except OSError as error:
        raise RequestError(
            f"{path} could not be written ({error.strerror or error}); what was made is kept in "
            f"{parts}: make room, then run the command again"
        ) from None
    return len(users)


def _begin(parts: Path, job: str) -> None:
    """Go on with the parts of the same job; parts of another one are thrown away."""
    about = parts / "job.json"
    if about.exists() and read_json(about) == job:
        done = len(list(parts.glob("0*.parquet")))
        say(f"going on after {done} parts in {parts}")
        return
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    write_json(about, job)


def _frame(engine: Engine, users: tuple[str, ...], k: int, exclude_seen: bool) -> pl.DataFrame:
    queries = (Query(engine.history_of(user), k, exclude_seen) for user in users)
    answers = engine.answer([engine.prepare(query) for query in queries])
    ids, titles = engine.catalogue.item_ids, engine.catalogue.titles

    def rows() -> Iterator[tuple[str, int, str, str, float]]:
        for user, answer in zip(users, answers, strict=True):
            for rank, (row, score) in enumerate(answer, start=1):
                yield user, rank, ids[row], titles[row], score

    schema = {
        "user": pl.String,
        "rank": pl.Int32,
        "item": pl.String,
        "title": pl.String,
        "log_probability": pl.Float32,
    }
    return pl.DataFrame(list(rows()), schema=schema, orient="row")
