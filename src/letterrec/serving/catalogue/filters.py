"""Filters by attribute: which items a query may get by what the catalogue's columns say of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.data import Dataset
from letterrec.data.attributes import values_of, with_categories
from letterrec.errors import RequestError

Where = Mapping[str, object]  # attribute -> a value, or several of which any will do
Key = tuple[tuple[str, tuple[str, ...]], ...]  # the same, comparable
_SHOWN = 8  # names or values in a message


class Attributes:
    """What is known of the items trained on, by attribute.

    Args:
        dataset: of the run; its categories are the attribute ``category`` too.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._columns, self._categories = dataset.attributes, dataset.categories
        self._n_items = dataset.n_items

    @cached_property
    def _table(self) -> pl.DataFrame | None:
        """A column for each attribute; made by the first who filters, since it takes seconds where
        items are many, and starts threads that no process may have that is forked later.
        """
        return with_categories(self._columns, self._categories)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the attributes; told without making the table."""
        own = [] if self._columns is None else self._columns.columns
        category = [] if self._categories is None else ["category"]
        return tuple(dict.fromkeys([*own, *category]))

    def mask(self, key: Key) -> NDArray[np.bool_]:
        """bool ``(n_items,)``: the items that have one of the values of every attribute.

        Raises:
            RequestError: no item has such an attribute or value.
        """
        kept = np.ones(self._n_items, dtype=bool)
        for name, values in key:
            if self._table is None or name not in self._table.columns:
                raise RequestError(f"where: no attribute {name!r}; {self._known()}")
            column = self._table[name]
            found = np.zeros(self._n_items, dtype=bool)
            for value in values:
                has = column.list.contains(pl.lit(value)).to_numpy()
                if not has.any():
                    raise RequestError(
                        f"where: no item has {name} = {value!r}{_like(column, value)}"
                    )
                found |= has
            kept &= found
        return kept

    def _known(self) -> str:
        if not self.names:
            return "the run keeps none: its catalogue had no further columns"
        more = f" and {len(self.names) - _SHOWN} more" if len(self.names) > _SHOWN else ""
        return f"the catalogue has {', '.join(self.names[:_SHOWN])}{more}"


def as_key(where: object) -> Key:
    """A filter as a caller gave it, in one order and form.

    Raises:
        RequestError: it is no mapping of names to values.

    >>> as_key({"year": 1999, "brand": ["Gibson", "Fender"]})
    (('brand', ('Fender', 'Gibson')), ('year', ('1999',)))
    """
    if not isinstance(where, Mapping):
        raise RequestError(
            f"where = {where!r}: expected attributes and values, as in {{'brand': 'Fender'}}"
        )
    key: dict[str, tuple[str, ...]] = {}
    for name, given in where.items():
        several = isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping)
        cells = list(given) if several else [given]
        values = [values_of(cell) for cell in cells]
        if not isinstance(name, str) or not values or not all(values):
            raise RequestError(
                f"where: {name!r} = {given!r}: expected an attribute and a text, a whole number or "
                "a list of these"
            )
        key[name] = tuple(sorted({value for found in values for value in found}))
    return tuple(sorted(key.items()))


def _like(column: pl.Series, value: str) -> str:
    """Values that may have been meant, or else the most frequent ones, for a message."""
    counts = column.explode().drop_nulls().value_counts(sort=True)[:, 0].to_list()
    folded = {known.casefold(): known for known in reversed(counts)}
    near = get_close_matches(value.casefold(), list(folded), n=3, cutoff=0.7)
    shown = [folded[name] for name in near] or counts[:_SHOWN]
    words = "did you mean" if near else "values there, the most frequent first:"
    return f"; {words} {', '.join(map(repr, shown))}{'?' if near else ''}"
