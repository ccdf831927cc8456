"""Recommendations for all users of a run: one file (Parquet, CSV, JSON lines) or a folder of parts.

The users are processed in parts. Each finished part is kept beside the file, so that a killed
process goes on where it stopped. Memory does not grow with the number of users.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, cast

import polars as pl

from letterrec.errors import RequestError, RunError
from letterrec.files import atomic_path, fingerprint, read_json, write_json
from letterrec.processes import jobs
from letterrec.progress import counting, say
from letterrec.serving.catalogue.filters import Where, as_key
from letterrec.serving.engine import Engine
from letterrec.serving.queries import Query

_PART = 2048  # users per part
_FORMATS = (".parquet", ".csv", ".jsonl", ".csv.gz", ".jsonl.gz")  # no name ends with two
_PARTS = ""  # the format of a folder of Parquet files
_JOB = "_job.json"  # which job made a folder of parts; readers of such folders pass over it


def recommend_all(
    engine: Engine,
    path: Path,
    *,
    k: int = 10,
    exclude_seen: bool = True,
    behaviour: str | None = None,
    force: bool = False,
    part: int = _PART,
    where: Where | None = None,
    load: Callable[[], Engine] | None = None,
    domain: str | None = None,
) -> int:
    """Write the ``k`` best next items of every user.

    Columns: ``user``, ``rank`` (from 1), ``item``, ``title``, ``log_probability`` (``score`` where
    a baseline ranks); users in the order of the run, best item first.

    Args:
        engine: of the run.
        path: of the file; its name ends with ``.parquet``, ``.csv``, ``.jsonl``, or one of the
            latter two and ``.gz``; with ``load`` also without an ending: a folder of Parquet parts.
        k: items per user.
        exclude_seen: leave out what a user has already.
        behaviour: what is asked for; None: the run's targets.
        force: overwrite a file with other content. A Parquet file that already holds these
            recommendations is left as it is.
        part: users per part.
        where: only items of these attributes; see `Engine.recommend`.
        load: opens the run again, for other processes, which do the parts (`jobs`); None:
            ``engine`` does them.
        domain: recommend only from this one; None: from all.

    Returns:
        How many users there are.

    Raises:
        NotFound: the run has no such domain.
        RequestError: ``path`` cannot be written, is a folder of something else, has another ending,
            or there is a file already.
        RunError: the catalogue is edited while other processes score.
    """
    suffix = format_of(path, parted=load is not None)
    catalogue = engine.catalogue
    among = "" if where is None else f" {as_key(where)}"
    wanted = Query((), k, exclude_seen, where=where, behaviour=behaviour, domain=domain)
    engine.prepare(wanted)  # refuses what the run does not have before anything is written
    job = fingerprint(
        f"{engine.key} {catalogue.lineage} {k} {exclude_seen} {part}{among}"
        + ("" if behaviour is None else f" {behaviour}")
        + ("" if domain is None else f" of {domain}"),
        engine.files.recommender.read_bytes(),
    )
    parts = path.with_name(f"{path.name}.parts")
    users = engine.dataset.user_ids
    is_begun = _is_of(parts / _JOB, job)
    if path.exists() and not force and not is_begun:
        if _made_by(path, suffix) == job:
            say(f"{path} has these recommendations already")
            return len(users)
        raise RequestError(
            f"{path} exists and may hold something else; name another --out, or give --force to "
            "write over it"
        )
    try:
        _begin(parts, job, is_begun)
        score = partial(scoring, load or (lambda: engine), catalogue.lineage, wanted)
        chunks = [
            Users(start, min(start + part, len(users)), parts / f"{start:012d}.parquet")
            for start in range(0, len(users), part)
        ]
        left = [chunk for chunk in chunks if not chunk.file.exists()]
        with counting("recommending", len(users)) as counter:
            counter.advance(len(users) - sum(chunk.stop - chunk.start for chunk in left))
            for chunk, _ in jobs.do(score, left):
                counter.advance(chunk.stop - chunk.start)
        if suffix == _PARTS:
            _give_folder(parts, path)
        else:
            with atomic_path(path) as temporary:
                _join(sorted(parts.glob("0*.parquet")), temporary, suffix, job)
            shutil.rmtree(parts)
    except OSError as error:
        raise RequestError(
            f"{path} could not be written ({error.strerror or error}); what was made is kept in "
            f"{parts}: make room, then run the command again"
        ) from None
    return len(users)


def format_of(path: Path, *, parted: bool = False) -> str:
    """The format of a file, as the ending of its name; empty for a folder of Parquet parts.

    Args:
        path: of the file.
        parted: a name without an ending is that of a folder of parts.

    Raises:
        RequestError: the ending is unknown, or ``path`` is a folder of something else.
    """
    if path.is_dir() and not (parted and (path / _JOB).exists()):
        raise RequestError(f"{path} is a folder; name a file, such as recs.parquet")
    for suffix in _FORMATS:
        if path.name.lower().endswith(suffix):
            return suffix
    if parted and not path.suffix:
        return _PARTS
    raise RequestError(f"{path}: expected a name that ends with {', '.join(_FORMATS)}")


class Users(NamedTuple):
    """A part: users from one row to before another, and the file that gets their lists."""

    start: int
    stop: int
    file: Path


def scoring(
    load: Callable[[], Engine],
    lineage: str,
    wanted: Query,
) -> Callable[[Users], None]:
    """What writes the lists of a part.

    Args:
        load: opens the run.
        lineage: of the catalogue that is scored.
        wanted: what is asked for every user.

    Raises:
        RunError: the catalogue is another by now.
    """
    engine = load()
    if engine.catalogue.lineage != lineage:
        raise RunError(
            f"the catalogue of {engine.folder} was edited while it was scored; run it again"
        )

    def score(part: Users) -> None:
        users = engine.dataset.user_ids[part.start : part.stop]
        with atomic_path(part.file) as temporary:
            lists_of(engine, users, wanted).write_parquet(temporary)

    return score


def _give_folder(parts: Path, path: Path) -> None:
    """Give the folder of parts its name, in place of one that was made like it."""
    if path.exists():
        shutil.rmtree(path)
    parts.rename(path)


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


def _made_by(path: Path, suffix: str) -> object:
    """Which job made a file or folder; None where it does not say."""
    if suffix == _PARTS:
        return read_json(path / _JOB)
    try:
        return pl.read_parquet_metadata(path).get("job") if suffix == ".parquet" else None
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
    write_json(parts / _JOB, job)


def lists_of(engine: Engine, users: tuple[str, ...], wanted: Query) -> pl.DataFrame:
    """The lists of some users, as `recommend_all` writes them; ``wanted`` is asked for each."""
    queries = (
        replace(
            wanted,
            history=engine.history_of(user),
            user=user,
            behaviours=engine.behaviours_of(user),
        )
        for user in users
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
