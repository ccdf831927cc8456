"""RecBole's atomic files: ``NAME.inter`` and, if present, ``NAME.item``, tab separated.

Knows the typed headers (``user_id:token``). Leaves checks, k-core and order to `events`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import polars as pl

from letterrec.data.catalogue import Catalogue, ItemText, item_text, look_up_in
from letterrec.data.dataset import Dataset
from letterrec.data.events import (
    check_text,
    collect_events,
    dataset_from_events,
    missing_column,
    reading,
)
from letterrec.errors import DataError

_TYPES = ("token", "token_seq", "float", "float_seq")


def read(folder: Path, *, k_core: int | None = None) -> Dataset:
    """Read a folder of RecBole's atomic files; None for ``k_core`` means 5.

    The fields ``user_id``, ``item_id`` and ``timestamp`` of ``NAME.inter`` are used. An item's
    title is the first field of ``NAME.item`` with ``title`` or ``name`` in its name, its text is
    that and every other field of type token or token_seq.

    Raises:
        DataError: a header has no types, a field is missing; see `events`.
    """
    names = sorted(f.stem for f in folder.glob("*.inter"))
    if len(names) > 1:
        raise DataError(
            f"{folder} holds {len(names)} data sets ({', '.join(names)}); expected one NAME.inter: "
            "keep each in a folder of its own"
        )
    path, items_path = folder / f"{names[0]}.inter", folder / f"{names[0]}.item"
    fields = _fields(path)
    for field in ("user_id", "item_id", "timestamp"):
        if field not in fields:
            raise missing_column(path, field, list(fields))
    frame = _scan(path, fields).select(user="user_id", item="item_id", time="timestamp")
    return dataset_from_events(
        collect_events(frame, where=path),
        name=names[0],
        where=path,
        k_core=k_core,
        catalogue=_catalogue(items_path) if items_path.is_file() else None,
    )


def _fields(path: Path) -> dict[str, str]:
    """Field -> type, in the order of the header."""
    check_text(path)
    with path.open("rb") as file:
        header = file.readline().decode("utf-8-sig", "replace").rstrip("\r\n")
    if not header:
        raise DataError(f"{path} is empty; expected a header such as user_id:token")
    fields = dict(field.partition(":")[::2] for field in header.split("\t"))
    for field, kind in fields.items():
        if kind not in _TYPES:
            raise DataError(
                f"{path}: header {header[:80]!r} has no type for {field!r}; expected "
                f"tab-separated NAME:TYPE with the types {', '.join(_TYPES)}"
            )
    return fields


def _scan(path: Path, fields: Mapping[str, str]) -> pl.LazyFrame:
    return pl.scan_csv(
        path,
        separator="\t",
        quote_char=None,
        has_header=False,
        skip_lines=1,
        schema=dict.fromkeys(fields, pl.String()),
    )


def _catalogue(path: Path) -> Catalogue:
    fields = _fields(path)
    if "item_id" not in fields:
        raise missing_column(path, "item_id", list(fields))
    texts = [f for f, kind in fields.items() if kind.startswith("token") and f != "item_id"]
    title = next((f for f in texts if "title" in f or "name" in f), None)

    def rows() -> Iterator[tuple[object, Callable[[], ItemText]]]:
        with reading(path):
            table = _scan(path, fields).collect().iter_rows(named=True)
        for row in table:
            further = {f: row[f] for f in texts if f != title}
            yield row["item_id"], partial(item_text, title and row[title], further)

    return look_up_in(path, rows)
