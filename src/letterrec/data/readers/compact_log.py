"""A log in little memory, in the order of its source: ids as categories, times as numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from letterrec.data import times
from letterrec.data.ids import as_text
from letterrec.data.readers.jsonlines import frames
from letterrec.data.readers.malformed import as_data_error
from letterrec.errors import DataError


@dataclass(frozen=True, eq=False)
class Events:
    """A log in little memory, in the order of the source.

    Attributes:
        frame: ``user``, ``item``, and ``behaviour`` where the log has it: categories, null where
            the cell is empty; ``time``: int64 or float64, null where it is no time.
        timeless: the first row that has ids and no time, and what it has instead.
    """

    frame: pl.DataFrame
    timeless: tuple[int, object] | None = None

    @classmethod
    def joined(cls, parts: Sequence[Events]) -> Events:
        """One log of several that follow each other."""
        frame = pl.concat([p.frame for p in parts], how="vertical_relaxed")
        return cls(frame, next((p.timeless for p in parts if p.timeless), None))


def collect_events(
    frame: pl.LazyFrame, *, where: object, first_row: int = 1, separator: str = ""
) -> Events:
    """Check and shrink a log: 16 bytes per interaction.

    Args:
        frame: columns ``user`` and ``item`` (text, whole numbers or categories), ``time`` (as
            `times` reads them: numbers since 1970, text, dates), and ``behaviour`` (as ids) or not.
        where: the file, for errors.
        first_row: number of the first row, for errors.
        separator: as `malformed.as_data_error`.

    Raises:
        DataError: the file cannot be read; a column is of a type that cannot be used.
    """
    with as_data_error(where, separator):
        schema = frame.collect_schema()
        ids = []
        for column in ("user", "item", *(["behaviour"] if "behaviour" in schema else [])):
            try:
                ids.append(as_text(column, schema[column]).cast(pl.Categorical).alias(column))
            except ValueError as error:
                raise DataError(f"{where}: {column} {error}") from None
        time = times.numbers(frame, where)
        events = frame.select(*ids, time).collect(engine="streaming")
        without = _timeless(events)
        if len(without) and schema["time"] == pl.String:  # perhaps times of another form
            again = frame.select(times.of_any_text(pl.col("time"))).collect(engine="streaming")
            events = events.with_columns(again["time"])
            without = _timeless(events)
        if not len(without):
            return Events(events)
        row = int(without[0])
        return Events(
            events, (first_row + row, frame.select("time").slice(row, 1).collect().item())
        )


def _timeless(events: pl.DataFrame) -> pl.Series:
    """Rows that have ids and no time."""
    return (events["time"].is_null() & _has_ids(events)).arg_true()


def _has_ids(events: pl.DataFrame) -> pl.Series:
    return ((events["user"] != "") & (events["item"] != "")).fill_null(False)


def collect_json_lines(
    path: Path,
    keys: Mapping[str, str],
    prepare: Callable[[pl.LazyFrame], pl.LazyFrame] = lambda frame: frame,
) -> Events:
    """`collect_events` over JSON lines, a block at a time.

    Args:
        path: the file.
        keys: column -> key: user, item, time and what ``prepare`` needs.
        prepare: makes user, item and time out of the columns of a block.
    """
    columns = {name: pl.col(key) for name, key in keys.items()}
    row, parts = 1, []
    ids = {keys["user"], keys["item"]}
    for block in frames(path, ids=sorted(ids), others=sorted(set(keys.values()) - ids)):
        frame = prepare(block.lazy().select(**columns))
        parts.append(collect_events(frame, where=path, first_row=row))
        row += len(block)
    if not parts:
        raise DataError(f"{path} is empty; expected one JSON object per line")
    return Events.joined(parts)
