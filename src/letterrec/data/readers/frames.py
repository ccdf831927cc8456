"""Tables in memory: polars and pandas DataFrames, read as the files of the same tables are."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import polars as pl

from letterrec.data.dataset import Dataset
from letterrec.data.readers import item_tables, plain
from letterrec.data.readers.base import ReadOptions
from letterrec.data.readers.interactions import read_interactions
from letterrec.data.readers.table_files import TableFile
from letterrec.errors import DataError

if TYPE_CHECKING:
    import pandas

NAME = "DataFrame"  # of the data set, and of the log in messages


class Frame(Protocol):
    """A polars DataFrame or LazyFrame, or a pandas DataFrame."""

    @property
    def columns(self) -> object:
        """The names of its columns."""


@dataclass(frozen=True, eq=False)
class Frames:
    """A log in memory, and what its items are called.

    Attributes:
        log: an interaction a row.
        items: an item a row; None: the log's ``title`` column where it was named, or no titles.
    """

    log: pl.LazyFrame
    items: pl.LazyFrame | None = None

    def __str__(self) -> str:
        return NAME

    @classmethod
    def of(cls, source: object, items: object = None) -> Frames | None:
        """The tables that a caller gave; None where ``source`` is none.

        Raises:
            DataError: ``items`` is no table, or came with a source that is none.
        """
        log = _as_polars(source)
        table = None if items is None else _as_polars(items)
        if items is not None and (log is None or table is None):
            what = "items goes with a log that is a DataFrame" if log is None else "items"
            raise DataError(
                f"{what}; a {type(items if log is not None else source).__name__} came; expected "
                "a polars or pandas DataFrame of each (a folder has its own items.parquet)"
            )
        return None if log is None else cls(log, table)


def check(frames: Frames, options: ReadOptions) -> None:
    """Refuse a log without the columns that it needs.

    Raises:
        DataError: a column is missing.
    """
    plain.log_columns(_table(frames), options, [])


def _table(frames: Frames) -> TableFile:
    return TableFile(Path(NAME), "parquet", (), frame=frames.log)


def read(frames: Frames, options: ReadOptions) -> Dataset:
    """Read a log and, where there is one, its catalogue; without ``k_core`` that is 5.

    Raises:
        DataError: a column is missing, or holds what cannot be used; see `read_interactions`.
    """
    notes: list[str] = []
    table = _table(frames)
    columns = plain.log_columns(table, options, notes)
    title = options.columns.get("title")
    catalogue = None
    if frames.items is not None:
        items = TableFile(Path("items"), "parquet", (), frame=frames.items)
        catalogue = item_tables.items_in(items, columns["item"], options.columns, notes)
    elif title is not None:
        if title not in (found := table.names()):
            raise DataError(
                f"{NAME} has no column {title!r}, which was given for 'title'; "
                f"it has {', '.join(found)}"
            )
        catalogue = item_tables.titles_in(table, columns["item"], title)
    return read_interactions(table, columns, options, name=NAME, catalogue=catalogue, notes=notes)


def _as_polars(frame: object) -> pl.LazyFrame | None:
    """A table as polars has it; None for anything else.

    Raises:
        DataError: two columns of a pandas DataFrame have one name.
    """
    if isinstance(frame, pl.LazyFrame):
        return frame
    if isinstance(frame, pl.DataFrame):
        return frame.lazy()
    module = sys.modules.get("pandas")  # who has a DataFrame of it has imported it
    if module is None or not isinstance(frame, module.DataFrame):
        return None
    names = [str(name) for name in frame.columns]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"the DataFrame has two columns {twice!r}; expected each name once")
    columns = (frame.iloc[:, place] for place in range(len(names)))
    return pl.LazyFrame([_column(n, c) for n, c in zip(names, columns, strict=True)])


def _column(name: str, column: pandas.Series) -> pl.Series:
    """A pandas column; values of several types, as a column of objects may have, become text."""
    try:
        return pl.Series(name, pl.from_pandas(column))
    except (TypeError, ImportError, pl.exceptions.PolarsError):
        values = column.astype(object).where(column.notna(), None).to_list()
        return pl.Series(name, [None if v is None else str(v) for v in values], dtype=pl.String)
