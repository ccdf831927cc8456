"""RecBole's atomic files: ``NAME.inter`` and, if present, ``NAME.item``, tab separated.

Their headers are typed, as in ``user_id:token``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from letterrec.data.dataset import Dataset
from letterrec.data.readers.base import Reader, ReadOptions, files_of
from letterrec.data.readers.columns import find_columns, item_of_catalogue
from letterrec.data.readers.interactions import read_interactions
from letterrec.data.readers.malformed import check_text
from letterrec.data.readers.side_tables import LookUp, Rows, look_up_in
from letterrec.data.readers.table_files import Dialect, TableFile
from letterrec.data.text import ItemText, is_category, item_text
from letterrec.errors import DataError, quoted

_TYPES = ("token", "token_seq", "float", "float_seq")


def read(source: Path, options: ReadOptions) -> Dataset:
    """Read a folder of RecBole's atomic files, or one NAME.inter; without ``k_core`` that is 5.

    The fields ``user_id``, ``item_id`` and ``timestamp`` of ``NAME.inter`` are used, or fields with
    other common names. An item's title is the first field of ``NAME.item`` with ``title`` or
    ``name`` in its name, its text is that and every other field of type token or token_seq.

    Raises:
        DataError: a header has no types, a field is missing; see `read_interactions`.
    """
    folder = source if source.is_dir() else source.parent
    inters = [f for f in folder.iterdir() if f.name.endswith(".inter")]
    names = [source.stem] if source.is_file() else sorted(f.stem for f in inters)
    if len(names) > 1:
        raise DataError(
            f"{folder} holds {len(names)} data sets ({', '.join(names)}); expected one NAME.inter: "
            "give that file, or keep each in a folder of its own"
        )
    path, items_path = folder / f"{names[0]}.inter", folder / f"{names[0]}.item"
    notes: list[str] = []
    table = _table(path, _fields(path))
    own = {"user": "user_id", "item": "item_id", "timestamp": "timestamp", "rating": "rating"}
    fields = table.dialect.header
    there = {role: field for role, field in own.items() if field in fields}
    columns = options.log_columns(fields, path, notes, there)
    return read_interactions(
        table,
        columns,
        options,
        name=names[0],
        catalogue=_items_in(items_path, columns["item"], options, notes)
        if items_path.is_file()
        else None,
        notes=notes,
    )


def _fields(path: Path) -> dict[str, str]:
    """Field -> type, in the order of the header."""
    check_text(path)
    with path.open("rb") as file:
        header = file.readline().decode("utf-8-sig", "replace").rstrip("\r\n")
    if not header:
        raise DataError(f"{path} is empty; expected a header such as user_id:token")
    names = [field.partition(":")[0] for field in header.split("\t")]
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path} has two fields {twice[0]!r}; expected each name once")
    fields = dict(field.partition(":")[::2] for field in header.split("\t"))
    for field, kind in fields.items():
        if kind not in _TYPES:
            raise DataError(
                f"{path}: header {quoted(header, 80)} has no type for {field!r}; expected "
                f"tab-separated NAME:TYPE with the types {', '.join(_TYPES)}"
            )
    return fields


def _table(path: Path, fields: Mapping[str, str]) -> TableFile:
    return TableFile(path, "csv", (path,), Dialect("\t", tuple(fields), quote=None, skip=1))


def _items_in(
    path: Path, log_item: str, options: ReadOptions, notes: list[str]
) -> LookUp[ItemText]:
    fields = _fields(path)
    known = ["item_id", log_item, item_of_catalogue(list(fields), log_item)]
    item = next((f for f in known if f in fields), None)
    if item is None:
        told: dict[str, str] = {}
        item = find_columns(
            list(fields), ("item",), where=path, told=told, notes=notes, file=path.name
        )["item"]
    elif item not in ("item_id", log_item):
        notes.append(f"{path.name}: column {item!r} is read as 'item'")
    texts = [f for f, kind in fields.items() if kind.startswith("token") and f != item]
    titles = [f for f in texts if "title" in f or "name" in f]
    title = options.columns.get("title", titles[0] if titles else None)
    if title is not None and title not in texts:
        raise DataError(
            f"{path} has no field {title!r} of text, which was given for 'title', only "
            f"{', '.join(texts)}"
        )

    category = next((f for f in texts if is_category(f)), None)

    def rows() -> Rows[ItemText]:
        for row in _table(path, fields).rows([item, *texts]):
            further = {f: row[f] for f in texts if f != title}
            categories = _category_path(row[category], fields[category]) if category else None
            yield row[item], partial(item_text, title and row[title], further, categories)

    return look_up_in(path, rows)


def _category_path(value: object, kind: str) -> object:
    """Of a sequence of tokens, the tokens: RecBole has spaces between them."""
    is_plain = isinstance(value, str) and not any(sign in value for sign in ",|>;")
    return value.split() if isinstance(value, str) and is_plain and kind == "token_seq" else value


def recognises(source: Path) -> bool:
    """Whether it is, or is a folder with, a ``NAME.inter``."""
    return any(f.name.endswith(".inter") for f in files_of(source))


READER = Reader("RecBole", recognises, read)
