"""The one reader of what `publications` declares."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from letterrec.data.dataset import Dataset
from letterrec.data.readers import amazon
from letterrec.data.readers.columns import find_columns
from letterrec.data.readers.files import Table, first_lines, kind_of, plain_name, split
from letterrec.data.readers.jsonlines import is_json_lines, records
from letterrec.data.readers.log import read_log
from letterrec.data.readers.options import ReadOptions
from letterrec.data.readers.publications import PUBLICATIONS, Items, Publication
from letterrec.data.text import Catalogue, ItemText, item_text, look_up_in
from letterrec.errors import DataError

_SPLIT = re.compile(r"\.(train|valid|test)\.csv$")  # of Amazon 2023, in the order of time
_ROWS = 1000  # that are looked at to tell a publication


@dataclass(frozen=True)
class Found:
    """A publication and the files of its log."""

    publication: Publication
    logs: tuple[Path, ...]


def find(files: Collection[Path]) -> list[Found]:
    """The publications whose logs are among these files; several files may be of one."""
    found: dict[str, Found] = {}
    for file in files:
        if publication := _publication_of(file):
            before = found[publication.name].logs if publication.name in found else ()
            found[publication.name] = Found(publication, (*before, file))
    return list(found.values())


def read(found: Found, options: ReadOptions) -> Dataset:
    """Read a publication; without ``k_core`` that is 5.

    Raises:
        DataError: there are several logs, a column is missing; see `events`.
    """
    publication = found.publication
    logs = _in_order(found)
    log = logs[0]
    table = Table(log, publication.kind, logs, publication.layout)
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
    roles = options.log_roles()
    told = {r: c for r, c in publication.columns.items() if c in names} | dict(options.columns)
    columns = find_columns(names, roles, where=log, told=told, notes=notes, file=log.name)
    return read_log(
        table,
        columns,
        options,
        name=publication.name,
        catalogue=_catalogue(publication, table, columns, options, notes),
        notes=notes,
        times=publication.times,
        reshape=publication.reshape,
    )


def _publication_of(file: Path) -> Publication | None:
    name = plain_name(file)
    named = [p for p in PUBLICATIONS if fnmatchcase(name, p.log)]
    if is_json_lines(file):
        try:
            _, first = next(records(file), (0, {}))
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
    layout = publication.layout
    rows = [split(line, layout.separator, layout.quote) for line in lines]
    if not layout.header:
        return set(publication.columns.values()) <= set(rows[0])
    if any(len(row) != len(layout.header) for row in rows):
        return False
    return not set(rows[0]) & set(layout.header) and publication.fits(rows)


def _in_order(found: Found) -> tuple[Path, ...]:
    logs = sorted(found.logs)
    if len(logs) > 1 and len({_SPLIT.sub("", p.name) for p in logs}) == 1:
        order = {"train": 0, "valid": 1, "test": 2}
        parts = [m[1] for p in logs if (m := _SPLIT.search(p.name))]
        if len(parts) == len(logs):
            return tuple(p for _, p in sorted(zip([order[x] for x in parts], logs, strict=True)))
    if len(logs) > 1:
        raise DataError(
            f"{logs[0].parent} holds {' and '.join(p.name for p in logs)}, each a log of "
            f"{found.publication.name}; give one of these files as the source"
        )
    return tuple(logs)


def _parts(publication: Publication, options: ReadOptions) -> str:
    """Which column is taken for what, in words."""
    parts = dict(publication.columns) | dict(options.columns)
    return ", ".join(f"{role} = {column}" for role, column in parts.items())


def _catalogue(
    publication: Publication,
    log: Table,
    columns: Mapping[str, str],
    options: ReadOptions,
    notes: list[str],
) -> Catalogue | None:
    if publication.items is None:
        texts = [c for c in publication.texts if c in log.layout.header]
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
        return amazon.catalogue_of(beside[0])
    title = options.columns.get("title", publication.items.title)
    return _by_row(beside[0], replace(publication.items, title=title))


def _same_category(metadata: Path, log: Path) -> bool:
    category = re.sub(r"^ratings_|(\.(train|valid|test))?\.csv(\.gz)?$", "", log.name)
    return amazon.category_of(metadata) == category


def _by_row(path: Path, items: Items) -> Catalogue:
    """The items of a catalogue, a row for each."""
    kind = kind_of(path) or "csv"
    table = Table(path, kind, (path,), items.layout)
    names = table.names()
    if kind == "csv" and items.title not in names:
        raise DataError(
            f"{path} has no column {items.title!r} for 'title', only {', '.join(names)}"
        )

    used = (items.item, items.title, *items.texts)

    def rows() -> Iterator[tuple[object, Callable[[], ItemText]]]:
        for row in table.rows(None if kind == "jsonl" else used):
            yield row.get(items.item), partial(item_text, row.get(items.title), _texts(row, items))

    return look_up_in(path, rows)


def _texts(row: Mapping[str, Any], items: Items) -> dict[str, Any]:
    found = {column: row.get(column) for column in items.texts}
    if not items.split:
        return found
    return {c: v.split(items.split) if isinstance(v, str) else v for c, v in found.items()}


def _in_log(log: Table, item: str, title: str | None, texts: list[str]) -> Catalogue:
    """What the rows of a log say of their items: the first that is said of each."""
    columns = ([title] if title else []) + texts

    def rows() -> Iterator[tuple[object, Callable[[], ItemText]]]:
        frame = log.scan().select(item, *columns).filter(pl.col(item).is_not_null())
        first = frame.group_by(item).agg(pl.col(c).first() for c in columns)
        for row in first.collect(engine="streaming").iter_rows(named=True):
            further = {c: row[c] for c in texts}
            yield row[item], partial(item_text, title and row[title], further)

    return look_up_in(log.path, rows)
