"""Plain tables: ``interactions.*``, with ``items.*`` and ``users.*`` if present, or one table.

Files are opened by `table_files`; `columns` says which column is what.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from letterrec.config.keywords import Role
from letterrec.data.dataset import Dataset
from letterrec.data.readers.base import Reader, ReadOptions
from letterrec.data.readers.columns import candidates_for, find_columns
from letterrec.data.readers.interactions import read_interactions
from letterrec.data.readers.item_tables import catalogue_beside, named, stem_of
from letterrec.data.readers.malformed import not_a_table
from letterrec.data.readers.side_tables import (
    LookUp,
    Rows,
    check_match,
    counted,
    look_up_in,
    preferences_of,
)
from letterrec.data.readers.table_files import TableFile, kind_of, open_table
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
    catalogue = catalogue_beside(table, folder, columns, options, notes)
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
        stem_of(p) == "interactions" and kind_of(p) for p in source.iterdir()
    )


def _name_of(source: Path, log: Path) -> str:
    """The folder's name if the log is called ``interactions``, else the source's own."""
    if stem_of(log) == "interactions":
        return log.resolve().parent.name
    return source.resolve().name if source.is_dir() else source.resolve().name.split(".")[0]


def _unread_tables(folder: Path) -> list[str]:
    """A line for each ``items.*`` and ``users.*`` of a kind that is not read."""
    return [
        f"{p.name} is NOT READ: {not_a_table(p)}"
        for p in sorted(folder.iterdir())
        if stem_of(p) in ("items", "users") and p.name != stem_of(p) and not kind_of(p)
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


def log_columns(table: TableFile, options: ReadOptions, notes: list[str]) -> dict[str, str]:
    """The columns of a log: role -> column."""
    try:
        return options.log_columns(table.names(), table.path, notes)
    except DataError:
        if table.kind != "jsonl":
            raise
        return options.log_columns(table.names(of_all=True), table.path, notes)


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
