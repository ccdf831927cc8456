"""What the columns of a catalogue say of its items, kept to filter by: brand, category, year."""

from __future__ import annotations

import datetime
import html
import re
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from letterrec.data.ids import MISSING

LONGEST = 200  # characters of a value; longer texts describe an item and are no value of it
_FRACTION = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")
Values = tuple[str, ...]  # of an item: several where a cell holds a list


def values_of(cell: object) -> Values:
    """What a cell of a catalogue says of its item, as texts without repeats.

    Texts, whole numbers, truth values, dates and lists of these count. Numbers with a fraction
    (prices, coordinates), objects and texts of more than 200 characters are no values.

    >>> values_of(" Fender  USA "), values_of(["a", "b", "a"]), values_of(1999.0), values_of(True)
    (('Fender USA',), ('a', 'b'), ('1999',), ('true',))
    >>> values_of("3.99"), values_of(None), values_of({"a": 1})
    ((), (), ())
    """
    if isinstance(cell, list | tuple):
        return tuple(dict.fromkeys(value for part in cell for value in values_of(part)))
    if isinstance(cell, bool):
        return (str(cell).lower(),)
    if isinstance(cell, float):
        return (str(int(cell)),) if cell.is_integer() else ()
    if isinstance(cell, int):
        return (str(cell),)
    if isinstance(cell, datetime.date):
        return (cell.isoformat(),)
    if not isinstance(cell, str) or len(cell) > LONGEST:
        return ()
    text = " ".join(html.unescape(cell).encode("utf-8", "replace").decode("utf-8").split())
    is_none = not text or text.lower() in MISSING or _FRACTION.fullmatch(text)
    return () if is_none else (text,)


def is_attribute(dtype: pl.DataType) -> bool:
    """Whether a column of this type can hold values of items."""
    if isinstance(dtype, pl.List | pl.Array):
        inner = dtype.inner
        return is_attribute(inner() if isinstance(inner, type) else inner)
    is_text = dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Date)
    return is_text or dtype.is_integer()


def table_of(items: Sequence[Mapping[str, Values]]) -> pl.DataFrame | None:
    """A column of lists of texts for each attribute, an item per row; None where there are none.

    >>> table_of([{"brand": ("Suds",)}, {}]).to_dict(as_series=False)
    {'brand': [['Suds'], []]}
    """
    names = dict.fromkeys(name for item in items for name in item)
    if not names:
        return None
    kind = pl.List(pl.String)
    return pl.DataFrame(
        [pl.Series(name, [list(i.get(name, ())) for i in items], kind) for name in names]
    )


def stacked(tables: Sequence[tuple[pl.DataFrame | None, int]]) -> pl.DataFrame | None:
    """The attributes of several catalogues as one table, items below items.

    Args:
        tables: of each catalogue its attributes, if it has any, and how many items it has.

    >>> a, b = (table_of([row]) for row in ({"brand": ("Suds",)}, {"year": ("1999",)}))
    >>> stacked([(a, 1), (None, 1), (b, 1)]).to_dict(as_series=False)
    {'brand': [['Suds'], [], []], 'year': [[], [], ['1999']]}
    """
    names = dict.fromkeys(
        name for table, _ in tables if table is not None for name in table.columns
    )
    if not names:
        return None

    def column(name: str) -> pl.Series:
        none = pl.Series(name, [[]], pl.List(pl.String))
        return pl.concat(
            table[name]
            if table is not None and name in table.columns
            else none.new_from_index(0, n)
            for table, n in tables
        )

    return pl.DataFrame([column(name) for name in names])


def attributes_in(fields: Mapping[str, object]) -> dict[str, Values]:
    """The attributes in the cells of a row, by the names of their columns."""
    found = {name: values_of(cell) for name, cell in fields.items() if isinstance(name, str)}
    return {name: values for name, values in found.items() if values}


def with_categories(
    table: pl.DataFrame | None, categories: Iterable[Sequence[str]] | None
) -> pl.DataFrame | None:
    """The attributes with ``category``: every category of an item, those above it among them."""
    if categories is None:
        return table
    names = pl.Series("category", [list(path) for path in categories], pl.List(pl.String))
    if table is None:
        return names.to_frame()
    if "category" in table.columns:
        names = table["category"].list.set_union(names)
    return table.with_columns(names.alias("category"))
