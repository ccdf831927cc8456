"""Tables of items: the one beside a log that has titles and texts, and what its rows say."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from letterrec.data.attributes import is_attribute
from letterrec.data.domains import qualified
from letterrec.data.ids import checked_id
from letterrec.data.readers.base import ReadOptions
from letterrec.data.readers.columns import candidates_for, find_columns, item_of_catalogue
from letterrec.data.readers.side_tables import LookUp, Rows, SideTable, counted, look_up_in
from letterrec.data.readers.table_files import TableFile, hive_keys, kind_of, open_table, plain_name
from letterrec.data.text import ItemText, is_image, is_year, item_text, title_of
from letterrec.errors import DataError, quoted, short


def stem_of(path: Path) -> str:
    """The name of a file without its endings."""
    return plain_name(path).partition(".")[0]


def named(folder: Path, stem: str) -> Path | None:
    """The table of that name in a folder, whatever its kind and case.

    Raises:
        DataError: there are several.
    """
    paths = sorted(p for p in folder.iterdir() if stem_of(p) == stem and kind_of(p))
    if len(paths) > 1:
        raise DataError(f"{folder} holds {' and '.join(p.name for p in paths)}; keep one of them")
    return paths[0] if paths else None


def read_items(path: Path) -> dict[str, ItemText]:
    """Read one table of items (columns item, title and further texts), whatever its name is.

    Raises:
        DataError: the file is missing, of another type or without items, a column is missing, a row
            has no id or that of another row, or an image is no address that a page may show.
    """
    return _read(path, by_domain=False)[0]


def read_by_domain(path: Path) -> tuple[dict[str, ItemText], dict[str, str]]:
    """Read a table of items of several domains.

    Returns:
        The items; and the domain of each, empty where the table has no column ``domain``. With one,
        items are ``DOMAIN/ID``; those whose ids begin so already stay.

    Raises:
        DataError: see `read_items`; or an item has no domain where others have, or one with ``/``.
    """
    return _read(path, by_domain=True)


def check_table(path: Path) -> None:
    """Refuse what cannot be a table of items, before anything is read.

    Raises:
        DataError: the file is missing, or of another type.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; expected a table of items")
    if kind_of(path) is None:
        raise DataError(
            f"{path} is no table of items; expected a .csv, .tsv, .jsonl or .parquet file"
        )


def _read(path: Path, *, by_domain: bool) -> tuple[dict[str, ItemText], dict[str, str]]:
    check_table(path)
    table = open_table(path, notes=[])
    items: dict[str, ItemText] = {}
    of_each: dict[str, str] = {}
    columns = _item_columns(table, "", {}, [], has_option=False)
    has_domains = by_domain and "domain" in table.names(of_all=True)
    row_of: dict[str, int] = {}
    for row, (value, title, further) in enumerate(_cells(table, columns, "domain"), start=1):
        item = checked_id(value, path, f"row {row}")
        if item is None:
            raise DataError(f"{path}: row {row} has no item id; give it one, or leave the row out")
        if has_domains:
            domain = checked_id(further.pop("domain", None), path, f"row {row}: domain")
            if domain is None:
                raise DataError(f"{path}: row {row}: item {item!r} has no domain; give it one")
            if "/" in domain:
                raise DataError(f"{path}: row {row}: domain {domain!r}: expected one without '/'")
            item = item if item.startswith(qualified(domain, "")) else qualified(domain, item)
            of_each[item] = domain
        if item in row_of:
            raise DataError(
                f"{path}: rows {row_of[item]} and {row} are both of item {item!r}; keep one of them"
            )
        row_of[item] = row
        items[item] = item_text(title, further)
        if not items[item].image:
            _check_images(further, path, row)
    if not items:
        raise DataError(f"{path} holds no items; expected a row for each, with item and title")
    return items, of_each


def _check_images(further: Mapping[str, object], path: Path, row: int) -> None:
    """Refuse what stands for an image and is none that a page may show."""
    for name, value in further.items():
        if is_image(name) and title_of(value):
            raise DataError(
                f"{path}: row {row}: {name} {quoted(title_of(value))}: expected an address that "
                "begins with https://, or with one / on the host"
            )


def catalogue_beside(
    log: TableFile, folder: Path, columns: Mapping[str, str], options: ReadOptions, notes: list[str]
) -> LookUp[ItemText] | None:
    """Where titles and texts come from: ``items.*``, the log's titles, or one other table."""
    item, title = columns["item"], options.columns.get("title")
    found = log.names()
    path = named(folder, "items")
    if path and (title is None or title in open_table(path, notes=[]).names(of_all=True)):
        if stem_of(log.path) != "interactions":
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
        note = f"{many} of {path.name} no text but an object ({short(objects[0])}): left out"
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
    table: TableFile,
    log_item: str,
    told: Mapping[str, str],
    notes: list[str],
    *,
    has_option: bool = True,
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
        has_option=has_option,
    )


def _items(
    table: TableFile, columns: Mapping[str, str], objects: list[object] | None = None
) -> Rows[ItemText]:
    """The rows of a table of items: the id, and what makes title and text of the row.

    Titles that are JSON objects go to ``objects``.
    """
    for item, title, further in _cells(table, columns):
        if objects is not None and isinstance(title, Mapping):
            objects.append(title)
        yield item, partial(item_text, title, further)


def _cells(
    table: TableFile, columns: Mapping[str, str], *others: str
) -> Iterator[tuple[object, object, dict[str, object]]]:
    """Of each row the id, the title and the further columns: those that say something of the item,
    and ``others``.
    """
    item, title = columns["item"], columns["title"]
    keys = (item, title, *others)
    for row in table.rows(None if table.kind == "jsonl" else _texts(table, keys)):
        further = {k: v for k, v in row.items() if k not in (item, title)}
        yield row.get(item), row.get(title), further


def _texts(table: TableFile, keys: Collection[str]) -> list[str]:
    """The columns of ids and titles, and those that hold texts, years or attributes."""
    folders = hive_keys(table)
    return [
        name
        for name, dtype in table.scan().collect_schema().items()
        if name in keys or (name not in folders and (is_year(name) or is_attribute(dtype)))
    ]
