"""The path of every interaction log: columns -> ids, times, ratings -> k-core -> `Dataset`.

A reader finds the columns and calls `read_interactions`. A user's interactions are ordered by
time; those at the same time stay in the order of the source. Users and items are ordered by id
(`ids.in_row_order`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.data import times
from letterrec.data.dataset import Dataset
from letterrec.data.ids import as_text, coded, in_row_order
from letterrec.data.readers.base import ReadOptions
from letterrec.data.readers.behaviours import behaviours_of
from letterrec.data.readers.jsonlines import frames
from letterrec.data.readers.k_core import duplicates, filter_k_core, note_short, stable_order
from letterrec.data.readers.malformed import as_data_error
from letterrec.data.readers.side_tables import (
    LookUp,
    attributes_of,
    categories_of,
    check_match,
    counted,
    images_of,
    titles_and_texts,
)
from letterrec.data.readers.table_files import TableFile
from letterrec.data.sequences import Histories
from letterrec.data.text import ItemText
from letterrec.errors import DataError

DEFAULT_K_CORE = 5
MOST_TIMELESS = 0.1  # share of the rows that may lack a time, and are dropped then


def read_interactions(
    table: TableFile,
    columns: Mapping[str, str],
    options: ReadOptions,
    *,
    name: str,
    catalogue: LookUp[ItemText] | None = None,
    notes: Sequence[str] = (),
    times_format: str = "",
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
        times_format: of the times, as in ``%d/%m/%Y``, where `times` does not know it.
        reshape: makes rows that are interactions out of the table's, before anything else.

    Raises:
        DataError: no rating is a number or high enough; see `dataset_from_events`.
    """
    from letterrec.data.readers import partitions  # which takes its parts from here

    said = list(notes)
    timed = options.order == "time"
    keys = {"user": columns["user"], "item": columns["item"]}
    if timed:
        keys["time"] = columns["timestamp"]
    for role in ("rating", "behaviour"):
        if role in columns:
            keys[role] = columns[role]
    rows = _Rows(options, times_format)
    if table.kind == "jsonl":
        events = collect_json_lines(table.path, keys, rows.prepared)
    else:
        with as_data_error(table.path, table.separator):
            scanned = reshape(table.scan()) if reshape else table.scan()
            scanned = scanned.select(**{k: pl.col(c) for k, c in keys.items()})
            kept = rows.prepared(scanned)
        is_plain = set(kept.collect_schema()) == {"user", "item", "time"}
        if is_plain and partitions.is_large(table):
            rows.report(table, columns.get("rating", ""), said)
            k = DEFAULT_K_CORE if options.k_core is None else options.k_core
            packed = partitions.pack(table, kept, k, notes=said)
            packed = packed if timed else packed._replace(times=None)
            return _with_catalogue(packed, name, table.path, catalogue, said)
        events = collect_events(kept, where=table.path, separator=table.separator)
    rows.report(table, columns.get("rating", ""), said)
    return dataset_from_events(
        events,
        name=name,
        where=table.path,
        k_core=options.k_core,
        catalogue=catalogue,
        warnings=said,
        timed=timed,
        grades=tuple(sorted(options.grades, key=lambda name: options.grades[name])),
        behaviours_named="behaviour" in options.columns,
    )


class _Rows:
    """The rows of a log, whole or in blocks: filters them by rating, cuts ratings into grades, and
    gives them their time.
    """

    def __init__(self, options: ReadOptions, times_format: str) -> None:
        self._options = options
        self._times_format = times_format
        self._n = self._rated = self._kept = 0
        self._highest: float | None = None

    def prepared(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Columns user, item, time, and behaviour where there are any, of the rows that are rated
        high enough.
        """
        least = self._options.least_rating
        if self._options.order == "rows":
            frame = frame.with_row_index("time", offset=self._n)
            frame = frame.with_columns(pl.col("time").cast(pl.Int64))
            if least is None:
                self._n += frame.select(pl.len()).collect(engine="streaming").item()
        elif self._times_format:
            time = pl.col("time").str.strip_chars()
            zone = "UTC" if "%z" in self._times_format else None
            moment = time.str.to_datetime(
                self._times_format, time_unit="us", time_zone=zone, strict=False
            )
            frame = frame.with_columns(time=moment)
        if least is None:
            return frame
        text = pl.col("rating").cast(pl.String).str.strip_chars()
        rating = text.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
        frame = frame.with_columns(rating=rating.fill_nan(None))
        enough = pl.col("rating") >= least
        counts = (
            frame.select(
                n=pl.len(),
                rated=pl.col("rating").count(),
                kept=enough.sum(),
                highest=pl.col("rating").max(),
            )
            .collect(engine="streaming")
            .row(0, named=True)
        )
        self._n += counts["n"]
        self._rated += counts["rated"]
        self._kept += counts["kept"]
        highest = [v for v in (self._highest, counts["highest"]) if v is not None]
        self._highest = max(highest, default=None)
        kept = frame.filter(enough)
        if self._options.grades:
            kept = kept.with_columns(behaviour=self._grade())
        has_behaviour = "behaviour" in kept.collect_schema()
        return kept.select("user", "item", "time", *(["behaviour"] if has_behaviour else []))

    def _grade(self) -> pl.Expr:
        """The name of the highest grade that the rating reaches."""
        grade = pl.lit(None, pl.String)
        for name, least in sorted(self._options.grades.items(), key=lambda pair: pair[1]):
            grade = pl.when(pl.col("rating") >= least).then(pl.lit(name)).otherwise(grade)
        return grade

    def report(self, table: TableFile, rating: str, notes: list[str]) -> None:
        """Say what was left out, and what the order is.

        Raises:
            DataError: nothing is left.
        """
        least = self._options.least_rating
        by = "data.min_rating" if self._options.min_rating == least else "data.grades"
        if least is not None and self._n:
            if self._highest is None:
                raise DataError(
                    f"{table.path}: column {rating!r} has no number in any row; expected ratings "
                    f"for {by}: name their column with --columns rating=NAME"
                )
            if not self._kept:
                raise DataError(
                    f"{table.path}: no rating in {rating!r} is {least:g} or more, the highest is "
                    f"{self._highest:g}; lower {by}"
                )
            low, without = self._rated - self._kept, self._n - self._rated
            if low:
                notes.append(f"{counted(low, 'interaction')} rated below {least:g}: dropped")
            if without:
                notes.append(f"{counted(without, 'interaction')} without a rating: dropped")
        if self._options.order == "rows":
            notes.append("the order of the rows is taken for the order in time (data.order=rows)")


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


def dataset_from_events(
    events: Events,
    *,
    name: str,
    where: object,
    k_core: int | None = None,
    catalogue: LookUp[ItemText] | None = None,
    warnings: Sequence[str] = (),
    timed: bool = True,
    grades: tuple[str, ...] = (),
    behaviours_named: bool = False,
) -> Dataset:
    """Build the data set out of what `collect_events` gave.

    Rows without an id, then those without a time, then those without a behaviour where the log has
    behaviours, then exact duplicates (same user, item, time and behaviour) are dropped, then those
    outside the k-core; all are counted in the warnings. None for ``k_core`` means 5. Without
    ``timed`` the times are an order and nothing else. With ``grades``, the lowest first, the
    behaviours are these; ``behaviours_named`` says that their column was named by the caller.

    Raises:
        DataError: an id cannot be one; more than a tenth of the rows have no time, or times are
            in different units; no interaction is left; no item of the catalogue is in the log.
    """
    notes = list(warnings)
    k = DEFAULT_K_CORE if k_core is None else k_core
    frame = events.frame
    if not len(frame):
        raise DataError(f"{where} holds no interactions; expected user, item and time in each row")
    try:
        users, items = (coded(frame[c], c, notes) for c in ("user", "item"))
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    known = users.known & items.known
    if not known.any():
        raise DataError(f"{where}: every row lacks a user or an item; expected ids in both")
    time = times.check_unit(frame["time"], where)
    kept = known & time.is_not_null().to_numpy()
    if not kept[known].all():  # without an example, 0 beside milliseconds
        first = events.timeless or (1 + int(np.flatnonzero(known & ~kept)[0]), 0)
        drop_timeless(int(known.sum()), int(kept.sum()), first, where, notes)
    note_lacking(len(known) - int(known.sum()), notes)
    kinds = behaviours_of(frame, grades, where, notes, must=behaviours_named)
    log = _Log(users.codes, items.codes, time.fill_null(0).to_numpy(), kinds.rows)
    if log.kind is not None:
        unnamed = kept & (log.kind < 0)
        if unnamed.any():
            notes.append(
                f"{counted(int(unnamed.sum()), 'interaction')} without a behaviour: dropped"
            )
            kept = kept & ~unnamed
            if not kept.any():
                raise DataError(f"{where}: no interaction with user, item and time has a behaviour")
    if not kept.all():
        log = log.at(kept)
    names = {"user": users.names, "item": items.names}
    del events, frame, users, items, time, known, kept
    log = log.at(stable_order(log.when, log.user))
    each: NDArray[np.integer] = log.item
    if log.kind is not None:
        each = each.astype(np.int64) * len(kinds.names) + log.kind
    repeated = duplicates(log.user, each, log.when)
    if repeated.any():
        note_repeated(int(repeated.sum()), notes)
        log = log.at(~repeated)
    user, item, when, kind = log.at(filter_k_core(log.user, log.item, k, where, notes))
    del log, each, repeated

    user_ids, user_codes = _rows(user, names["user"])
    item_ids, item_codes = _rows(item, names["item"])
    item_row = np.zeros(int(item_codes.max()) + 1, dtype=np.int32)
    item_row[item_codes] = np.arange(len(item_codes))
    offsets = np.append(0, np.cumsum(np.bincount(user)))
    by_code = Histories(offsets, item_row[item], kind)
    interactions = by_code.take(user_codes)
    seconds = times.in_seconds(when)[by_code.places(user_codes)] if timed else None
    del by_code, when
    packed = Packed(user_ids, item_ids, interactions, seconds)
    dataset = _with_catalogue(packed, name, where, catalogue, notes)
    return replace(dataset, behaviours=kinds.names, graded=bool(grades))


class _Log(NamedTuple):
    """The columns of a log as numbers: users, items, times and, where it has any, behaviours."""

    user: NDArray[np.uint32]
    item: NDArray[np.uint32]
    when: NDArray[np.number]
    kind: NDArray[np.int8] | None

    def at(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> _Log:
        """The same columns of some rows."""
        kind = None if self.kind is None else self.kind[rows]
        return _Log(self.user[rows], self.item[rows], self.when[rows], kind)


class Packed(NamedTuple):
    """A log as rows.

    Attributes:
        user_ids: in the order of their rows.
        item_ids: in the order of their rows.
        interactions: one sequence per user, in the order of time.
        times: float64, seconds since 1970 of each interaction; None where there is only an order.
    """

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    interactions: Histories
    times: NDArray[np.float64] | None


def _with_catalogue(
    packed: Packed,
    name: str,
    where: object,
    catalogue: LookUp[ItemText] | None,
    notes: list[str],
) -> Dataset:
    """The data set of a log and of what its items are called."""
    item_ids = packed.item_ids
    note_short(packed.interactions, notes)
    entries: Mapping[str, ItemText] = {}
    if catalogue:
        found = catalogue(set(item_ids))
        check_match(found, item_ids, where, notes)
        entries = found.entries
        if found.others:
            n = counted(found.others, "catalogue item")
            notes.append(f"{n} without interactions: dropped")
    titles, texts = titles_and_texts(item_ids, entries, notes)
    return Dataset(
        name,
        packed.user_ids,
        item_ids,
        packed.interactions,
        titles,
        texts,
        categories=categories_of(item_ids, entries),
        attributes=attributes_of(item_ids, entries),
        images=images_of(item_ids, entries),
        warnings=tuple(notes),
        times=packed.times,
    )


def note_lacking(n: int, notes: list[str]) -> None:
    """Count interactions that lack an id."""
    if n:
        notes.append(f"{counted(n, 'interaction')} without user or item: dropped")


def note_repeated(n: int, notes: list[str]) -> None:
    """Count interactions that repeat others."""
    if n:
        notes.append(f"{counted(n, 'duplicate interaction')} (same user, item and time): dropped")


def drop_timeless(
    n: int, kept: int, first: tuple[int, object], where: object, notes: list[str]
) -> None:
    """Count the rows that have no time, of ``n``; refuse a column where many have none."""
    example = f"row {first[0]} has time {first[1]!r}"
    if n - kept > MOST_TIMELESS * n:
        many = f" ({n - kept:,} of {n:,} rows have none that can be read)" if n - kept > 1 else ""
        raise DataError(f"{where}: {example}; expected {times.EXPECTED}{many}")
    notes.append(f"{counted(n - kept, 'interaction')} without a time ({example}): dropped")


def _rows(
    codes: NDArray[np.uint32], names: pl.DataFrame
) -> tuple[tuple[str, ...], NDArray[np.uint32]]:
    """The ids that occur, in the order of their rows, and the code of each."""
    present = pl.Series(np.flatnonzero(np.bincount(codes)), dtype=pl.UInt32)
    ordered = in_row_order(names.filter(pl.col("code").is_in(present.implode())))
    return tuple(ordered["id"]), ordered["code"].to_numpy()
