"""From the columns of a log to a data set: ratings, the order, and what `events` makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from letterrec.data.dataset import Dataset
from letterrec.data.readers.events import (
    collect_events,
    collect_json_lines,
    dataset_from_events,
    reading,
)
from letterrec.data.readers.files import Table
from letterrec.data.readers.options import ReadOptions
from letterrec.data.text import Catalogue, counted
from letterrec.errors import DataError


def read_log(
    table: Table,
    columns: Mapping[str, str],
    options: ReadOptions,
    *,
    name: str,
    catalogue: Catalogue | None = None,
    notes: Sequence[str] = (),
    times: str = "",
    reshape: Callable[[pl.LazyFrame], pl.LazyFrame] | None = None,
) -> Dataset:
    """Read the interactions of a table.

    Args:
        table: where they are, a row for each.
        columns: role -> column, for each of `ReadOptions.log_roles`.
        options: ratings, order and k-core.
        name: of the data set.
        catalogue: what the items are called.
        notes: what is known to be doubtful already.
        times: the form of the times, where it is none that `events` knows, as in ``%d/%m/%Y``.
        reshape: makes rows that are interactions out of the table's, before anything else.

    Raises:
        DataError: no rating is a number or high enough; see `events`.
    """
    said = list(notes)
    keys = {"user": columns["user"], "item": columns["item"]}
    if options.order == "time":
        keys["time"] = columns["timestamp"]
    if options.min_rating is not None:
        keys["rating"] = columns["rating"]
    rows = _Rows(options, times)
    if table.kind == "jsonl":
        events = collect_json_lines(table.path, keys, rows.taken_of)
    else:
        with reading(table.path, table.separator):
            scanned = reshape(table.scan()) if reshape else table.scan()
            taken = rows.taken_of(scanned.select(**{k: pl.col(c) for k, c in keys.items()}))
        events = collect_events(taken, where=table.path, separator=table.separator)
    rows.report(table, columns.get("rating", ""), said)
    return dataset_from_events(
        events,
        name=name,
        where=table.path,
        k_core=options.k_core,
        catalogue=catalogue,
        warnings=said,
    )


class _Rows:
    """Rows of a log as they come, whole or in blocks: which count, and when they happened."""

    def __init__(self, options: ReadOptions, times: str) -> None:
        self._options = options
        self._times = times
        self._n = self._rated = self._taken = 0
        self._highest: float | None = None

    def taken_of(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Columns user, item, time of the rows that are rated high enough."""
        if self._options.order == "rows":
            frame = frame.with_row_index("time", offset=self._n)
            frame = frame.with_columns(pl.col("time").cast(pl.Int64))
            if self._options.min_rating is None:
                self._n += frame.select(pl.len()).collect(engine="streaming").item()
        elif self._times:
            time = pl.col("time").str.strip_chars()
            zone = "UTC" if "%z" in self._times else None
            moment = time.str.to_datetime(self._times, time_unit="us", time_zone=zone, strict=False)
            frame = frame.with_columns(time=moment)
        if self._options.min_rating is None:
            return frame
        text = pl.col("rating").cast(pl.String).str.strip_chars()
        rating = text.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
        frame = frame.with_columns(rating=rating.fill_nan(None))
        enough = pl.col("rating") >= self._options.min_rating
        counts: dict[str, Any] = (
            frame.select(
                n=pl.len(),
                rated=pl.col("rating").count(),
                taken=enough.sum(),
                highest=pl.col("rating").max(),
            )
            .collect(engine="streaming")
            .row(0, named=True)
        )
        self._n += counts["n"]
        self._rated += counts["rated"]
        self._taken += counts["taken"]
        highest = [v for v in (self._highest, counts["highest"]) if v is not None]
        self._highest = max(highest, default=None)
        return frame.filter(enough).select("user", "item", "time")

    def report(self, table: Table, rating: str, notes: list[str]) -> None:
        """Say what was left out, and what the order is.

        Raises:
            DataError: nothing is left.
        """
        least = self._options.min_rating
        if least is not None and self._n:
            if self._highest is None:
                raise DataError(
                    f"{table.path}: column {rating!r} has no number in any row; expected ratings "
                    "for data.min_rating: name their column with --columns rating=NAME"
                )
            if not self._taken:
                raise DataError(
                    f"{table.path}: no rating in {rating!r} is {least:g} or more, the highest is "
                    f"{self._highest:g}; lower data.min_rating"
                )
            low, without = self._rated - self._taken, self._n - self._rated
            if low:
                notes.append(f"{counted(low, 'interaction')} rated below {least:g}: dropped")
            if without:
                notes.append(f"{counted(without, 'interaction')} without a rating: dropped")
        if self._options.order == "rows":
            notes.append("the order of the rows is taken for the order in time (data.order=rows)")
