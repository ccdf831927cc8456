"""Tables: ``interactions.*`` and, if present, ``items.*`` and ``users.*``, or one table alone.

Knows what lies beside a table. Leaves opening files to `files`, and what a column is to `columns`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from letterrec.config import Role
from letterrec.data.catalogue import Catalogue, ItemText, item_text, preferences_of
from letterrec.data.columns import candidates_for, find_columns, item_of_catalogue
from letterrec.data.dataset import Dataset
from letterrec.data.files import Table, hive_keys, kind_of, open_table, plain_name
from letterrec.data.log import read_log
from letterrec.data.options import ReadOptions
from letterrec.errors import DataError


def read(source: Path, options: ReadOptions) -> Dataset:
    """Read a folder with ``interactions.*``, or one table; without ``k_core`` that is 5.

    Raises:
        DataError: a column is missing; a file is unreadable; see `events`.
    """
    notes: list[str] = []
    path = source
    if source.is_dir() and (inside := named(source, "interactions")):
        path = inside
    folder = source if path != source else source.parent
    table = open_table(path, notes=notes, told=options.columns.values())
    columns = _log_columns(table, options, notes)
    catalogue = _catalogue_beside(table, folder, columns, options, notes)
    users = named(folder, "users")
    said = _preferences(users, options, notes) if users else {}
    dataset = read_log(
        table,
        columns,
        options,
        name=(source if source.is_dir() else path).resolve().name.split(".")[0],
        catalogue=catalogue,
        notes=notes,
    )
    return replace(dataset, preferences=preferences_of(dataset.user_ids, said))


def is_log(path: Path, options: ReadOptions) -> bool:
    """Whether a file is a table that says which user did something with which item."""
    try:
        found = open_table(path, notes=[], told=options.columns.values()).names()
    except DataError:
        return False
    return all(
        options.columns.get(role) in found or role in found or candidates_for(role, found, [])
        for role in ("user", "item")
    )


def named(folder: Path, stem: str) -> Path | None:
    """The table of that name in a folder, whatever its kind and case.

    Raises:
        DataError: there are several.
    """
    paths = sorted(
        p for p in folder.iterdir() if plain_name(p).partition(".")[0] == stem and kind_of(p)
    )
    if len(paths) > 1:
        raise DataError(f"{folder} holds {' and '.join(p.name for p in paths)}; keep one of them")
    return paths[0] if paths else None


def read_items(path: Path) -> dict[str, ItemText]:
    """Read one table of items (columns item, title and further texts), whatever its name is.

    Raises:
        DataError: the file is missing, of another type or without items; a column is missing.
    """
    if not path.exists() or kind_of(path) is None:
        raise DataError(
            f"{path} is no table of items; expected a .csv, .tsv, .jsonl or .parquet file"
        )
    table = open_table(path, notes=[])
    items: dict[str, ItemText] = {}
    for item, text in _items(table, _item_columns(table, "", {}, [])):
        items.setdefault(item, text)
    if not items:
        raise DataError(f"{path} holds no items; expected a row for each, with item and title")
    return items


def _log_columns(table: Table, options: ReadOptions, notes: list[str]) -> dict[str, str]:
    def find(found: list[str]) -> dict[str, str]:
        return find_columns(
            found,
            options.log_roles(),
            where=table.path,
            told=options.columns,
            notes=notes,
            file=table.path.name,
        )

    try:
        return find(table.names())
    except DataError:
        if table.kind != "jsonl":
            raise
        return find(table.names(of_all=True))


def _catalogue_beside(
    log: Table, folder: Path, columns: Mapping[str, str], options: ReadOptions, notes: list[str]
) -> Catalogue | None:
    """What the items are called: ``items.*``, the titles of the log, or one other table."""
    told = options.columns
    if path := named(folder, "items"):
        if (
            path.name != "items"
            and log.path.parent == folder
            and log.path.name.partition(".")[0].lower() != "interactions"
        ):
            notes.append(f"{path.name} beside it is read for titles and texts")
        return catalogue_of(path, columns["item"], told, notes)
    found = log.names()
    if "title" in told and told["title"] in found:
        notes.append(f"{log.path.name}: column {told['title']!r} has the titles of the items")
        return _titles_in(log, columns["item"], told["title"])
    others = [
        p
        for p in sorted(folder.iterdir())
        if p.is_file() and p != log.path and _is_catalogue(p, columns["item"], options)
    ]
    if len(others) == 1:
        notes.append(f"{others[0].name} beside it is read for titles and texts")
        return catalogue_of(others[0], columns["item"], told, notes)
    if others:
        notes.append(
            f"{' and '.join(p.name for p in others)} could have the titles: not read; "
            "name the right one items"
        )
    elif titles := candidates_for("title", found, columns.values()):
        notes.append(
            f"{log.path.name}: column {titles[0]!r} is not read; if it has the titles of the "
            f"items, say so with --columns title={titles[0]}"
        )
    return None


def _is_catalogue(path: Path, item: str, options: ReadOptions) -> bool:
    """Whether a table has the log's column of items, and titles, and no users."""
    if kind_of(path) not in ("csv", "parquet"):
        return False
    try:
        found = open_table(path, notes=[]).names()
    except DataError:
        return False
    titles = options.columns.get("title") in found or candidates_for("title", found, [])
    return item in found and bool(titles) and not candidates_for("user", found, [])


def catalogue_of(path: Path, item: str, told: Mapping[str, str], notes: list[str]) -> Catalogue:
    """The items of a table by its columns, where the log calls its items ``item``."""
    table = open_table(path, notes=notes)
    columns = _item_columns(table, item, told, notes)

    def look_up(wanted: Collection[str]) -> tuple[Mapping[str, ItemText], int]:
        found: dict[str, ItemText] = {}
        others: set[str] = set()
        for key, text in _items(table, columns):
            if key in wanted:
                found.setdefault(key, text)
            else:
                others.add(key)
        return found, len(others)

    return look_up


def _titles_in(log: Table, item: str, title: str) -> Catalogue:
    """The first title that a log has for each item."""

    def look_up(wanted: Collection[str]) -> tuple[Mapping[str, ItemText], int]:
        if log.kind == "jsonl":
            pairs: Iterator[tuple[Any, ...]] = ((r.get(item), r.get(title)) for r in log.rows())
        else:
            frame = log.scan().select(item=pl.col(item).cast(pl.String), title=pl.col(title))
            frame = frame.drop_nulls().group_by("item").agg(pl.col("title").first())
            pairs = frame.collect(engine="streaming").iter_rows()
        found: dict[str, ItemText] = {}
        for key, text in pairs:
            if str(key) in wanted:
                found.setdefault(str(key), item_text(text))
        return found, 0

    return look_up


def _item_columns(
    table: Table, log_item: str, told: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """Where a catalogue has its items and their titles; the log's name for items counts too."""
    found = table.names(of_all=True)
    told = {role: name for role, name in told.items() if role == "title" and name in found}
    if log_item in found and "item" not in found:
        told["item"] = log_item
    elif called_id := item_of_catalogue(found, log_item):
        notes.append(f"{table.path.name}: column {called_id!r} is read as 'item'")
        told["item"] = called_id
    return find_columns(
        found,
        ("item", "title"),
        where=table.path,
        told=told,
        notes=notes,
        file=table.path.name,
    )


def _items(table: Table, columns: Mapping[str, str]) -> Iterator[tuple[str, ItemText]]:
    """The items of a table in order; those without id are passed over."""
    item, title = columns["item"], columns["title"]
    for row in table.rows(None if table.kind == "jsonl" else _texts(table, item)):
        if row.get(item) not in (None, ""):
            further = (v for k, v in row.items() if k not in (item, title))
            yield str(row[item]), item_text(row.get(title), further)


def _texts(table: Table, key: str) -> list[str]:
    """The column of ids and those that hold texts or lists of texts."""
    schema = table.scan().collect_schema()
    text = (pl.String, pl.Categorical, pl.Enum, pl.List(pl.String))
    keys = hive_keys(table)
    return [
        name
        for name, dtype in schema.items()
        if name == key or (dtype in text and name not in keys)
    ]


def _preferences(path: Path, options: ReadOptions, notes: list[str]) -> dict[str, Any]:
    """User -> what the user likes, of a table with the columns user and preference."""
    table = open_table(path, notes=notes)
    roles: tuple[Role, ...] = ("user", "preference")
    found = table.names(of_all=True)
    told = {role: name for role, name in options.columns.items() if name in found}
    if any(r not in told and not candidates_for(r, found, []) for r in roles):
        notes.append(
            f"{path.name} is not read: it has no columns 'user' and 'preference', only "
            f"{', '.join(found)}"
        )
        return {}
    columns = find_columns(found, roles, where=path, told=told, notes=notes, file=path.name)
    said: dict[str, Any] = {}
    for row in table.rows(columns.values()):
        said.setdefault(str(row.get(columns["user"])), row.get(columns["preference"]))
    return said
