"""Recommendations for all users of a run, written as one file: Parquet, CSV or JSON lines.

The users are processed in parts. Each finished part is kept beside the file, so that a killed
process goes on where it stopped. Memory does not grow with the number of users.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import polars as pl

from letterrec.errors import RequestError
from letterrec.files import atomic_path, fingerprint, read_json, write_json
from letterrec.progress import counting, say
from letterrec.serving.catalogue.filters import Where, as_key
from letterrec.serving.engine import Engine
from letterrec.serving.queries import Query

_PART = 2048  # users per part
_FORMATS = (".parquet", ".csv", ".jsonl", ".csv.gz", ".jsonl.gz")


def recommend_all(
    engine: Engine,
    path: Path,
    *,
    k: int = 10,
    exclude_seen: bool = True,
    force: bool = False,
    part: int = _PART,
    where: Where | None = None,
) -> int:
    """Write the ``k`` best next items of every user.

    Columns: ``user``, ``rank`` (from 1), ``item``, ``title``, ``log_probability`` (``score`` where
    a baseline ranks); users in the order of the run, best item first.

    Args:
        engine: of the run.
        path: of the file; its name ends with ``.parquet``, ``.csv``, ``.jsonl``, or one of the
            latter two and ``.gz``.
        k: items per user.
        exclude_seen: leave out what a user has already.
        force: overwrite a file with other content. A Parquet file that already holds these
            recommendations is left as it is.
        part: users per part.
        where: only items of these attributes; see `Engine.recommend`.

    Returns:
        How many users there are.

    Raises:
        RequestError: ``path`` cannot be written, is a folder, has another ending, or there is a
            file already.
    """
    suffix = format_of(path)
    catalogue = engine.catalogue
    among = "" if where is None else f" {as_key(where)}"
    engine.prepare(Query((), where=where))  # refuses what no item has before anything is written
    job = fingerprint(
        f"{engine.key} {catalogue.lineage} {k} {exclude_seen} {part}{among}",
        engine.files.recommender.read_bytes(),
    )
    parts = path.with_name(f"{path.name}.parts")
    users = engine.dataset.user_ids
    is_begun = _is_of(parts / "job.json", job)
    if path.exists() and not force and not is_begun:
        if suffix == ".parquet" and _made_by(path) == job:
            say(f"{path} has these recommendations already")
            return len(users)
        raise RequestError(
            f"{path} exists and may hold something else; name another --out, or give --force to "
            "write over it"
        )
    try:
        _begin(parts, job, is_begun)
        with counting("recommending", len(users)) as counter:
            for start in range(0, len(users), part):
                chunk = users[start : start + part]
                file = parts / f"{start:012d}.parquet"
                if not file.exists():
                    with atomic_path(file) as temporary:
                        _frame(engine, chunk, k, exclude_seen, where).write_parquet(temporary)
                counter.advance(len(chunk))
        with atomic_path(path) as temporary:
            _join(sorted(parts.glob("0*.parquet")), temporary, suffix, job)
        shutil.rmtree(parts)
    except OSError as error:
        raise RequestError(
            f"{path} could not be written ({error.strerror or error}); what was made is kept in "
            f"{parts}: make room, then run the command again"
        ) from None
    return len(users)


def format_of(path: Path) -> str:
    """The format of a file, as the ending of its name.

    Raises:
        RequestError: the ending is unknown, or ``path`` is a folder.
    """
    if path.is_dir():
        raise RequestError(f"{path} is a folder; name a file, such as recs.parquet")
    for suffix in reversed(_FORMATS):
        if path.name.lower().endswith(suffix):
            return suffix
    raise RequestError(f"{path}: expected a name that ends with {', '.join(_FORMATS)}")


def _join(parts: list[Path], path: Path, suffix: str, job: str) -> None:
    """One file of all parts, in their order."""
    if suffix == ".parquet":
        pl.scan_parquet(parts, glob=False).sink_parquet(path, metadata={"job": job})
        return
    opened = gzip.open if suffix.endswith(".gz") else open
    with cast(IO[bytes], opened(path, "wb")) as file:
        for i, part in enumerate(parts):
            frame = pl.read_parquet(part, glob=False)
            if suffix.startswith(".csv"):
                frame.write_csv(file, include_header=i == 0)
            else:
                frame.write_ndjson(file)


def _is_of(about: Path, job: str) -> bool:
    return about.exists() and read_json(about) == job


def _made_by(path: Path) -> str | None:
    try:
        return pl.read_parquet_metadata(path).get("job")
    except (pl.exceptions.PolarsError, OSError):
        return None


def _begin(parts: Path, job: str, is_begun: bool) -> None:
    """Keep the parts of the same job; delete those of another one."""
    if is_begun:
        done = len(list(parts.glob("0*.parquet")))
        say(f"going on after {done} parts in {parts}")
        return
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    write_json(parts / "job.json", job)


def _frame(
    engine: Engine, users: tuple[str, ...], k: int, exclude_seen: bool, where: Where | None
) -> pl.DataFrame:
    queries = (
        Query(engine.history_of(user), k, exclude_seen, user=user, where=where) for user in users
    )
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
        engine.score_name: pl.Float32,
    }
    return pl.DataFrame(list(rows()), schema=schema, orient="row")
