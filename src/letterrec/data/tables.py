"""Tables: ``interactions.parquet|csv|jsonl`` and, if present, ``items.*`` and ``users.*``.

Knows the columns, their usual other names, and the three file types. Leaves checks, k-core and
order to `events`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from letterrec.data.catalogue import (
    Catalogue,
    ItemText,
    check_match,
    counted,
    item_text,
    look_up_in,
    preferences_of,
)
from letterrec.data.dataset import Dataset
from letterrec.data.events import (
    Events,
    check_text,
    collect_events,
    collect_json_lines,
    dataset_from_events,
    missing_column,
    reading,
)
from letterrec.data.ids import as_id
from letterrec.data.jsonlines import records
from letterrec.data.words import is_year
from letterrec.errors import DataError

# column -> other names that are understood, whatever their case, and reported
ALIASES = {
    "user": ("user_id", "userid", "uid"),
    "item": ("item_id", "itemid", "iid"),
    "timestamp": ("time", "ts", "date", "datetime"),
    "title": ("name", "item_title", "item_name"),
    "preference": ("preferences",),
}


def read(folder: Path, *, k_core: int | None = None) -> Dataset:
    """Read a folder of tables; None for ``k_core`` means 5.

    Raises:
        DataError: a column is missing; a file is unreadable; see `events`.
    """
    notes: list[str] = []
    path = _only(folder, "interactions")
    assert path is not None  # by this file the format is recognised
    columns = _columns(path, ("user", "item", "timestamp"), notes)
    items_path, users_path = _only(folder, "items"), _only(folder, "users")
    users = _columns(users_path, ("user", "preference"), notes) if users_path else {}
    dataset = dataset_from_events(
        _events(path, columns),
        name=folder.resolve().name,
        where=path,
        k_core=k_core,
        catalogue=_catalogue(items_path, notes) if items_path else None,
        warnings=notes,
    )
    if users_path is None:
        return dataset
    found = _preferences(users_path, users)(set(dataset.user_ids))
    notes = list(dataset.warnings)
    check_match(found, dataset.user_ids, path, notes, "user")
    if found.others:
        notes.append(
            f"{counted(found.others, 'user')} of {users_path.name} not in the log: left out"
        )
    preferences = preferences_of(dataset.user_ids, found.entries)
    return replace(dataset, preferences=preferences, warnings=tuple(notes))


def _events(path: Path, columns: Mapping[str, str]) -> Events:
    keys = {"user": columns["user"], "item": columns["item"], "time": columns["timestamp"]}
    if path.suffix == ".jsonl":
        return collect_json_lines(path, keys)
    with reading(path):
        frame = _scan(path).select(**{name: pl.col(key) for name, key in keys.items()})
    return collect_events(frame, where=path)


def _only(folder: Path, stem: str) -> Path | None:
    paths = [p for t in ("parquet", "csv", "jsonl") if (p := folder / f"{stem}.{t}").is_file()]
    if len(paths) > 1:
        raise DataError(f"{folder} holds {' and '.join(p.name for p in paths)}; keep one of them")
    return paths[0] if paths else None


def _scan(path: Path) -> pl.LazyFrame:
    """Columns of a CSV are text: ids such as 007 keep their zeros."""
    return (
        pl.scan_parquet(path)
        if path.suffix == ".parquet"
        else pl.scan_csv(path, infer_schema=False)
    )


def _names(path: Path) -> list[str]:
    """The columns of a table; of JSON lines, the keys of the first."""
    if path.suffix == ".jsonl":
        first = next(records(path), None)
        if first is None:
            raise DataError(f"{path} is empty; expected one JSON object per line")
        return list(first[1])
    if path.suffix == ".csv":
        check_text(path)
    with reading(path):
        names = _scan(path).collect_schema().names()
    if twice := [n for n in names if f"{n}_duplicated_0" in names]:  # as polars calls the second
        raise DataError(f"{path} has two columns {twice[0]!r}; expected each name once")
    return names


def _columns(path: Path, wanted: Sequence[str], notes: list[str]) -> dict[str, str]:
    """Wanted column -> its name in the file; another name than the wanted one is noted."""
    found = _names(path)
    by_lower = {name.lower(): name for name in reversed(found)}
    columns = {}
    for column in wanted:
        known = [column] if column in found else []
        known += [by_lower[a] for a in (column, *ALIASES[column]) if a in by_lower]
        if not known:
            raise missing_column(path, column, found)
        columns[column] = known[0]
        if known[0] != column:
            notes.append(f"{path.name}: column {known[0]!r} is read as {column!r}")
    return columns


def read_items(path: Path) -> dict[str, ItemText]:
    """Read one table of items (columns item, title and further texts), whatever its name is.

    Raises:
        DataError: the file is missing, of another type or without items; a column is missing.
    """
    if path.suffix not in (".parquet", ".csv", ".jsonl") or not path.is_file():
        raise DataError(f"{path} is no table of items; expected a .parquet, .csv or .jsonl file")
    items: dict[str, ItemText] = {}
    for row, (value, make) in enumerate(_items(path, _columns(path, ("item", "title"), [])), 1):
        try:
            item = as_id(value)
        except ValueError as error:
            raise DataError(f"{path}: row {row}: {error}") from None
        if item is not None and item not in items:
            items[item] = make()
    if not items:
        raise DataError(f"{path} holds no items; expected a row for each, with item and title")
    return items


def _items(
    path: Path, columns: Mapping[str, str]
) -> Iterator[tuple[object, Callable[[], ItemText]]]:
    """The rows of a table of items: the id, and what makes title and text of the row."""
    item, title = columns["item"], columns["title"]
    for row in _rows(path, item, title):
        further = {k: v for k, v in row.items() if k not in (item, title)}
        yield row.get(item), partial(item_text, row.get(title), further)


def _preferences(path: Path, columns: Mapping[str, str]) -> Catalogue:
    """What users like, of a table with the columns user and preference."""
    user, preference = columns["user"], columns["preference"]

    def rows() -> Iterator[tuple[object, Callable[[], Any]]]:
        for row in _rows(path, user, preference):
            yield row.get(user), partial(row.get, preference)

    return look_up_in(path, rows, "user")


def _rows(path: Path, *keys: str) -> Iterator[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return (record for _, record in records(path))
    with reading(path):
        return _scan(path).select(_texts(path, keys)).collect().iter_rows(named=True)


def _catalogue(path: Path, notes: list[str]) -> Catalogue:
    columns = _columns(path, ("item", "title"), notes)
    return look_up_in(path, partial(_items, path, columns))


def _texts(path: Path, keys: Collection[str]) -> list[str]:
    """The columns of ids and titles, and those that hold texts, lists of texts or years."""

    def is_text(dtype: pl.DataType) -> bool:
        if isinstance(dtype, pl.List | pl.Array):
            return is_text(pl.Series(dtype=dtype.inner).dtype)
        return dtype in (pl.String, pl.Categorical, pl.Enum)

    schema = _scan(path).collect_schema()
    return [n for n, dtype in schema.items() if n in keys or is_year(n) or is_text(dtype)]
