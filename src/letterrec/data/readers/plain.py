"""Plain tables: ``interactions.*``, with ``items.*`` and ``users.*`` if present, or one table.

Files are opened by `table_files`; `columns` says which column is what.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path

import polars as pl

from letterrec.config.settings import Role
from letterrec.data.attributes import is_attribute
from letterrec.data.dataset import Dataset
from letterrec.data.domains import qualified
from letterrec.data.ids import checked_id
from letterrec.data.readers.base import Reader, ReadOptions
from letterrec.data.readers.columns import candidates_for, find_columns, item_of_catalogue
from letterrec.data.readers.interactions import read_interactions
from letterrec.data.readers.malformed import not_a_table
from letterrec.data.readers.side_tables import (
    LookUp,
    Rows,
    SideTable,
    check_match,
    counted,
    look_up_in,
    preferences_of,
)
from letterrec.data.readers.table_files import TableFile, hive_keys, kind_of, open_table, plain_name
from letterrec.data.text import ItemText, is_year, item_text
from letterrec.errors import DataError


def read(source: Path, options: ReadOptions) -> Dataset:
    """Read a folder with ``interactions.*``, or one table; without ``k_core`` that is 5.

    Raises:
        DataError: a column is missing; a file is unreadable; see `read_interactions`.
    """
    notes: list[str] = []
    inside = named(source, "interactions") if source.is_dir() else None
    path, folder = (inside, source) if inside else (source, source.parent)
    table = open_table(path, notes=notes, told=options.columns.values())
    columns = log_columns(table, options, notes)
    catalogue = _catalogue_beside(table, folder, columns, options, notes)
    notes += _unread_tables(folder)
    users = named(folder, "users")
    said = _preferences(users, options, notes) if users else None
    dataset = read_interactions(
        table,
        columns,
        options,
        name=_name_of(source, path),
        catalogue=catalogue,
        notes=notes,
    )
    if users is None or said is None:
        return dataset
    found = said(set(dataset.user_ids))
    notes = list(dataset.warnings)
    check_match(found, dataset.user_ids, path, notes, "user")
    if found.others:
        notes.append(f"{counted(found.others, 'user')} of {users.name} not in the log: left out")
    preferences = preferences_of(dataset.user_ids, found.entries)
    return replace(dataset, preferences=preferences, warnings=tuple(notes))


def has_interactions(source: Path) -> bool:
    """Whether it is a folder with ``interactions.*``; `discovery` tells other tables."""
    return source.is_dir() and any(
        _stem(p) == "interactions" and kind_of(p) for p in source.iterdir()
    )


def _name_of(source: Path, log: Path) -> str:
    """The folder's name if the log is called ``interactions``, else the source's own."""
    if _stem(log) == "interactions":
        return log.resolve().parent.name
    return source.resolve().name if source.is_dir() else source.resolve().name.split(".")[0]


def _stem(path: Path) -> str:
    return plain_name(path).partition(".")[0]


def _unread_tables(folder: Path) -> list[str]:
    """A line for each ``items.*`` and ``users.*`` of a kind that is not read."""
    return [
        f"{p.name} is NOT READ: {not_a_table(p)}"
        for p in sorted(folder.iterdir())
        if _stem(p) in ("items", "users") and p.name != _stem(p) and not kind_of(p)
    ]


def is_log(path: Path, options: ReadOptions) -> bool:
    """Whether a file is a table with all the columns that a log needs."""
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
    paths = sorted(p for p in folder.iterdir() if _stem(p) == stem and kind_of(p))
    if len(paths) > 1:
        raise DataError(f"{folder} holds {' and '.join(p.name for p in paths)}; keep one of them")
    return paths[0] if paths else None


def read_items(path: Path, *, by_domain: bool = False) -> dict[str, ItemText]:
    """Read one table of items (columns item, title and further texts), whatever its name is.

    Args:
        path: of the table.
        by_domain: where it has a column ``domain``, items are ``DOMAIN/ID``.

    Raises:
        DataError: the file is missing, of another type or without items; a column is missing, or
            an item has no domain where others have.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; expected a table of items")
    if kind_of(path) is None:
        raise DataError(
            f"{path} is no table of items; expected a .csv, .tsv, .jsonl or .parquet file"
        )
    table = open_table(path, notes=[])
    items: dict[str, ItemText] = {}
    has_domains = by_domain and "domain" in table.names(of_all=True)
    domains = (r.get("domain") for r in table.rows(["domain"])) if has_domains else repeat(None)
    rows = zip(_items(table, _item_columns(table, "", {}, [])), domains, strict=False)
    for row, ((value, make), domain) in enumerate(rows, start=1):
        item = checked_id(value, path, f"row {row}")
        if item is not None and has_domains:
            if not isinstance(domain, str) or not domain:
                raise DataError(f"{path}: row {row}: item {item!r} has no domain; give it one")
            item = qualified(domain, item)
        if item is not None and item not in items:
            items[item] = make()
    if not items:
        raise DataError(f"{path} holds no items; expected a row for each, with item and title")
    return items


def log_columns(table: TableFile, options: ReadOptions, notes: list[str]) -> dict[str, str]:
    """The columns of a log: role -> column."""

    def find(found: list[str]) -> dict[str, str]:
        return find_columns(
            found,
            options.log_roles(found),
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
    log: TableFile, folder: Path, columns: Mapping[str, str], options: ReadOptions, notes: list[str]
) -> LookUp[ItemText] | None:
    """Where titles and texts come from: ``items.*``, the log's titles, or one other table."""
    item, title = columns["item"], options.columns.get("title")
    found = log.names()
    path = named(folder, "items")
    if path and (title is None or title in open_table(path, notes=[]).names(of_all=True)):
        if _stem(log.path) != "interactions":
            notes.append(f"{path.name} beside it is read for titles and texts")
        return items_in(open_table(path, notes=notes), item, options.columns, notes)
    if title in found:
        notes.append(f"{log.path.name}: column {title!r} has the titles of the items")
        return titles_in(log, item, title)
    others = [p for p in sorted(folder.iterdir()) if p != log.path and _describes(p, item, title)]
    if len(others) == 1:
        notes.append(f"{others[0].name} beside it is read for titles and texts")
        return items_in(open_table(others[0], notes=notes), item, options.columns, notes)
    if title is not None:
        raise DataError(
            f"{log.path} has no column {title!r}, which was given for 'title', nor has one table "
            f"of items beside it; {log.path.name} has {', '.join(found)}"
        )
    if others:
        names = " and ".join(p.name for p in others)
        notes.append(f"{names} could have the titles: not read; call the right one items")
    elif catalogue := _catalogue_by_id(log.path, folder, item, options, notes):
        return catalogue
    elif titles := candidates_for("title", found, columns.values()):
        notes.append(
            f"{log.path.name}: column {titles[0]!r} is not read; if it has the titles of the "
            f"items, say so with --columns title={titles[0]}"
        )
    return None


def _catalogue_by_id(
    log: Path, folder: Path, item: str, options: ReadOptions, notes: list[str]
) -> LookUp[ItemText] | None:
    """The one other table with ids called ``id``, where they are those of the log's items."""
    others = [p for p in sorted(folder.iterdir()) if p != log and _describes(p, "id", None)]
    if not others:
        return None
    if len(others) > 1 or candidates_for("item", open_table(others[0], notes=[]).names(), []):
        names = " and ".join(p.name for p in others)
        notes.append(f"{names} could have the titles: not read; call the right one items")
        return None
    name = others[0].name
    read: list[str] = []
    catalogue = items_in(open_table(others[0], notes=read), item, options.columns, read)

    def where_they_match(wanted: Collection[str]) -> SideTable[ItemText]:
        found = catalogue(wanted)
        if not found.entries:
            note = f"{name} is not read: its ids are none of the log's items; if they should be, "
            return SideTable(found.where, {}, 0, notes=(f"{note}write them alike",))
        said = (f"{name} beside it is read for titles and texts", *read)
        return replace(found, notes=(*said, *found.notes))

    return where_they_match


def _describes(path: Path, item: str, title: str | None) -> bool:
    """Whether a table has the log's column of items, and titles, and no users."""
    if not path.is_file() or kind_of(path) not in ("csv", "parquet"):
        return False
    try:
        found = open_table(path, notes=[]).names()
    except DataError:
        return False
    titles = title in found if title else bool(candidates_for("title", found, []))
    return item in found and titles and not candidates_for("user", found, [])


def items_in(
    table: TableFile, item: str, told: Mapping[str, str], notes: list[str]
) -> LookUp[ItemText]:
    """The items of a table by its columns, where the log calls its items ``item``."""
    path = table.path
    columns = _item_columns(table, item, told, notes)

    def look_up(wanted: Collection[str]) -> SideTable[ItemText]:
        objects: list[object] = []
        found = look_up_in(path, partial(_items, table, columns, objects))(wanted)
        if not objects:
            return found
        many = counted(len(objects), "title")
        note = f"{many} of {path.name} no text but an object ({str(objects[0])[:60]}): left out"
        return replace(found, notes=(*found.notes, note))

    return look_up


def titles_in(log: TableFile, item: str, title: str) -> LookUp[ItemText]:
    """The first title that a log has for each item."""

    def pairs() -> Rows[ItemText]:
        if log.kind == "jsonl":
            first: dict[object, object] = {}
            for row in log.rows():
                if row.get(title) and row.get(item) is not None:
                    first.setdefault(row[item], row[title])
            yield from ((i, partial(item_text, t)) for i, t in first.items())
        else:
            frame = log.scan().select(item=pl.col(item), title=pl.col(title)).drop_nulls()
            titles = frame.group_by("item").agg(pl.col("title").first())
            rows = titles.collect(engine="streaming").iter_rows()
            yield from ((i, partial(item_text, t)) for i, t in rows)

    return look_up_in(log.path, pairs)


def _item_columns(
    table: TableFile, log_item: str, told: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """The columns of ids and titles in a catalogue; ids may be named as in the log."""
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


def _items(
    table: TableFile, columns: Mapping[str, str], objects: list[object] | None = None
) -> Rows[ItemText]:
    """The rows of a table of items: the id, and what makes title and text of the row.

    Titles that are JSON objects go to ``objects``.
    """
    item, title = columns["item"], columns["title"]
    for row in table.rows(None if table.kind == "jsonl" else _texts(table, (item, title))):
        further = {k: v for k, v in row.items() if k not in (item, title)}
        if objects is not None and isinstance(row.get(title), Mapping):
            objects.append(row[title])
        yield row.get(item), partial(item_text, row.get(title), further)


def _texts(table: TableFile, keys: Collection[str]) -> list[str]:
    """The columns of ids and titles, and those that hold texts, years or attributes."""
    folders = hive_keys(table)
    return [
        name
        for name, dtype in table.scan().collect_schema().items()
        if name in keys or (name not in folders and (is_year(name) or is_attribute(dtype)))
    ]


def _preferences(path: Path, options: ReadOptions, notes: list[str]) -> LookUp[object] | None:
    """What users like, from a table with the columns user and preference; None for others."""
    table = open_table(path, notes=notes)
    roles: tuple[Role, ...] = ("user", "preference")
    found = table.names(of_all=True)
    told = {role: name for role, name in options.columns.items() if name in found}
    if any(r not in told and not candidates_for(r, found, []) for r in roles):
        notes.append(
            f"{path.name} is not read: it has no columns 'user' and 'preference', only "
            f"{', '.join(found)}"
        )
        return None
    columns = find_columns(found, roles, where=path, told=told, notes=notes, file=path.name)
    user, preference = columns["user"], columns["preference"]

    def rows() -> Rows[object]:
        for row in table.rows(columns.values()):
            yield row.get(user), partial(row.get, preference)

    return look_up_in(path, rows, "user")


READER = Reader("tables", has_interactions, read)
