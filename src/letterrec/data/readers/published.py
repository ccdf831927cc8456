"""Reads what `publications` declares: one reader for each, all of the same code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from pathlib import Path

import polars as pl

from letterrec.data.dataset import Dataset
from letterrec.data.readers import amazon
from letterrec.data.readers.base import Reader, ReadOptions, files_of
from letterrec.data.readers.interactions import read_interactions
from letterrec.data.readers.jsonlines import first_record, is_json_lines
from letterrec.data.readers.publications import PUBLICATIONS, ItemsFile, Publication
from letterrec.data.readers.side_tables import LookUp, Rows, look_up_in
from letterrec.data.readers.table_files import TableFile, first_lines, kind_of, plain_name, split
from letterrec.data.text import ItemText, item_text
from letterrec.errors import DataError

_SPLIT = re.compile(r"\.(train|valid|test)\.csv$")  # of Amazon 2023, in the order of time
_OWN = ("interactions", "items", "users")  # names of tables, whoever published them
_ROWS = 1000  # that are looked at to tell a publication


def recognises(publication: Publication, source: Path) -> bool:
    """Whether it is, or is a folder with, a log of this publication."""
    return bool(_logs_of(publication, source))


def _logs_of(publication: Publication, source: Path) -> list[Path]:
    """The logs of a publication, without tables such as ``items.csv`` whose names are our own."""
    files = [f for f in files_of(source) if fnmatchcase(plain_name(f), publication.log)]
    if source.is_dir():
        files = [f for f in files if plain_name(f).partition(".")[0] not in _OWN]
    return [f for f in files if _publication_of(f) is publication]


def read(publication: Publication, source: Path, options: ReadOptions) -> Dataset:
    """Read a publication; without ``k_core`` that is 5.

    Raises:
        DataError: there are several logs, a column is missing; see `read_interactions`.
    """
    logs = _in_order(_logs_of(publication, source), publication)
    log = logs[0]
    table = TableFile(log, publication.kind, logs, publication.dialect)
    notes = [f"{log.name} is read as {publication.name}: {_parts(publication, options)}"]
    if len(logs) > 1:
        notes.append(f"{', '.join(p.name for p in logs)} are read together, and split anew")
    if publication.assumed:
        notes.append(f"assumed: {publication.assumed}")
    unread = [
        p.name
        for p in sorted(log.parent.iterdir())
        if any(fnmatchcase(plain_name(p), pattern) for pattern in publication.unread)
    ]
    if unread:
        notes.append(f"not read: {', '.join(unread)}")
    names = ["user", "item", "timestamp"] if publication.reshape else table.names()
    own = {role: column for role, column in publication.columns.items() if column in names}
    columns = options.log_columns(names, log, notes, own)
    return read_interactions(
        table,
        columns,
        options,
        name=publication.name,
        catalogue=_catalogue(publication, table, columns, options, notes),
        notes=notes,
        times_format=publication.times,
        reshape=publication.reshape,
    )


def _publication_of(file: Path) -> Publication | None:
    """The first publication that a file fits: its name, then its columns or keys."""
    stat = file.stat()
    return _looked_at(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)  # every publication asks; the file is opened once
def _looked_at(file: Path, modified: int, size: int) -> Publication | None:
    name = plain_name(file)
    named = [p for p in PUBLICATIONS if fnmatchcase(name, p.log)]
    if is_json_lines(file):
        try:
            first = first_record(file)
        except DataError:
            return None
        needed = ((p, set(p.columns.values())) for p in named if p.kind == "jsonl")
        return next((p for p, keys in needed if keys <= first.keys()), None)
    named = [p for p in named if p.kind == "csv"]
    if not named:
        return None
    lines = first_lines(file)[:_ROWS]
    return next((p for p in named if lines and _fits(p, lines)), None)


def _fits(publication: Publication, lines: list[str]) -> bool:
    """Whether the first lines of a file have the columns of a publication."""
    dialect = publication.dialect
    rows = [split(line, dialect.separator, dialect.quote) for line in lines]
    if not dialect.header:
        return set(publication.columns.values()) <= set(rows[0])
    if any(len(row) != len(dialect.header) for row in rows):
        return False
    return not set(rows[0]) & set(dialect.header) and publication.fits(rows)


def _in_order(logs: list[Path], publication: Publication) -> tuple[Path, ...]:
    """The one log of a publication, or its parts in the order of time."""
    if len(logs) > 1 and len({_SPLIT.sub("", p.name) for p in logs}) == 1:
        order = {"train": 0, "valid": 1, "test": 2}
        parts = [m[1] for p in logs if (m := _SPLIT.search(p.name))]
        if len(parts) == len(logs):
            return tuple(p for _, p in sorted(zip([order[x] for x in parts], logs, strict=True)))
    if len(logs) > 1:
        raise DataError(
            f"{logs[0].parent} holds {' and '.join(p.name for p in logs)}, each a log of "
            f"{publication.name}; give one of these files as the source"
        )
    return tuple(logs)


def _parts(publication: Publication, options: ReadOptions) -> str:
    """Which column is taken for what, in words."""
    parts = dict(publication.columns) | dict(options.columns)
    return ", ".join(f"{role} = {column}" for role, column in parts.items())


def _catalogue(
    publication: Publication,
    log: TableFile,
    columns: Mapping[str, str],
    options: ReadOptions,
    notes: list[str],
) -> LookUp[ItemText] | None:
    if publication.items is None:
        texts = [c for c in publication.texts if c in log.dialect.header]
        title = options.columns.get("title", publication.columns.get("title"))
        return _in_log(log, columns["item"], title, texts) if title or texts else None
    beside = [
        p
        for p in sorted(log.path.parent.iterdir())
        if any(fnmatchcase(plain_name(p), pattern) for pattern in publication.items.files)
        and (publication.items.files[0] != "meta_*" or _same_category(p, log.path))
    ]
    if len(beside) > 1:
        names = " and ".join(p.name for p in beside)
        raise DataError(f"{log.path.parent} holds {names}; keep one of them")
    if not beside:
        notes.append(f"no {publication.items.files[0]} beside it: the items have no titles")
        return None
    if publication.items.files[0] == "meta_*":
        options.refuse_title(log.path)
        return amazon.metadata_in(beside[0])
    title = options.columns.get("title", publication.items.title)
    return _by_row(beside[0], replace(publication.items, title=title))


def _same_category(metadata: Path, log: Path) -> bool:
    category = re.sub(r"^ratings_|(\.(train|valid|test))?\.csv(\.gz)?$", "", log.name)
    return amazon.category_of(metadata) == category


def _by_row(path: Path, items: ItemsFile) -> LookUp[ItemText]:
    """The items of a catalogue, a row for each."""
    kind = kind_of(path) or "csv"
    table = TableFile(path, kind, (path,), items.dialect)
    names = table.names()
    if kind == "csv" and items.title not in names:
        raise DataError(
            f"{path} has no column {items.title!r} for 'title', only {', '.join(names)}"
        )

    used = (items.item, items.title, *items.texts)

    def rows() -> Rows[ItemText]:
        for row in table.rows(None if kind == "jsonl" else used):
            yield row.get(items.item), partial(item_text, row.get(items.title), _texts(row, items))

    return look_up_in(path, rows)


def _texts(row: Mapping[str, object], items: ItemsFile) -> dict[str, object]:
    found = {column: row.get(column) for column in items.texts}
    if not items.split:
        return found
    return {c: v.split(items.split) if isinstance(v, str) else v for c, v in found.items()}


def _in_log(log: TableFile, item: str, title: str | None, texts: list[str]) -> LookUp[ItemText]:
    """What the rows of a log say of their items: the first that is said of each."""
    columns = ([title] if title else []) + texts

    def rows() -> Rows[ItemText]:
        frame = log.scan().select(item, *columns).filter(pl.col(item).is_not_null())
        first = frame.group_by(item).agg(pl.col(c).first() for c in columns)
        for row in first.collect(engine="streaming").iter_rows(named=True):
            further = {c: row[c] for c in texts}
            yield row[item], partial(item_text, title and row[title], further)

    return look_up_in(log.path, rows)


READERS = tuple(Reader(p.name, partial(recognises, p), partial(read, p)) for p in PUBLICATIONS)
