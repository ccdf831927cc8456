"""Logs larger than memory: the data set of `interactions`, made in partitions by user.

Rows go to files by a hash of their user (Polars' streaming engine); each partition is put in order
alone; the k-core looks at one partition at a time; the sequences are a memory-mapped file. Where
others do parts (`jobs`), reading, partitions and item numbers are theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.data import times
from letterrec.data.ids import SPACE, as_text, changes_told, coded_with_changes, in_row_order
from letterrec.data.readers.compact_log import collect_events
from letterrec.data.readers.k_core import duplicates, stable_order
from letterrec.data.readers.malformed import as_data_error
from letterrec.data.readers.packed_log import Packed, drop_timeless, note_lacking, note_repeated
from letterrec.data.readers.partition_core import joined, k_core_of
from letterrec.data.readers.partition_files import Partition, save, whole
from letterrec.data.readers.table_files import TableFile
from letterrec.errors import DataError
from letterrec.files import atomic_path, fingerprint, read_json, write_json
from letterrec.processes import jobs
from letterrec.progress import counting

LARGE = {"parquet": 200_000_000, "csv": 1_000_000_000}  # bytes: some 25 million rows
_ROWS = 3_000_000  # of a partition, about
_LEAST = 4  # partitions, so that several processes have some
_SAMPLE = 10_000  # first rows whose times are looked at


class Counts(TypedDict):
    """What was found in a partition.

    Attributes:
        rows: as they came.
        known: of them, those with a user and an item.
        timed: of these, those with a time.
        repeated: of these, those that repeat another.
        timeless: the number of the first row without a time, and what it has instead, if any.
        changed: per column, ids that are read as others: raw, id, rows.
    """

    rows: int
    known: int
    timed: int
    repeated: int
    timeless: tuple[int, object] | None
    changed: dict[str, list[tuple[str, str | None, int]]]


class Source(NamedTuple):
    """Rows of a log that follow those of other sources.

    Attributes:
        rows: the columns user, item, time.
        first_row: how many rows come before.
    """

    rows: pl.LazyFrame
    first_row: int


def is_large(table: TableFile) -> bool:
    """Whether a log is better read in partitions."""
    most = LARGE.get(table.kind)
    return most is not None and sum(part.stat().st_size for part in table.parts) >= most


def pack(table: TableFile, rows: pl.LazyFrame, k: int, *, notes: list[str]) -> Packed:
    """Read a log in partitions.

    Args:
        table: where the log is.
        rows: the columns user, item, time.
        k: of the k-core.
        notes: gets a line for each kind of rows that are dropped or changed.

    Raises:
        DataError: as `interactions.dataset_from_events`.
    """
    where = table.path
    with as_data_error(where, table.separator):
        n_rows = rows.select(pl.len()).collect(engine="streaming").item()
    if not n_rows:
        raise DataError(f"{where} holds no interactions; expected user, item and time in each row")
    count = max(_LEAST, -(-n_rows // _ROWS))
    sources = _sources(table, rows, n_rows)
    with jobs.scratch(f"log-{_key(table, rows)}") as folder, as_data_error(where, table.separator):
        with counting("reading the log", len(sources)) as counter:
            for _ in jobs.do(partial(_spilling, folder, count, where), sources):
                counter.advance(1)
        no_zero = _check_times(folder, where)
        partitions = [Partition(folder, number) for number in range(count)]
        counts = []
        with counting("partitions by user", count) as counter:
            for _, found in jobs.do(partial(_ordering, no_zero, where), partitions):
                counts.append(found)
                counter.advance(1)
        _report(counts, where, notes)
        item_ids = _number_items(folder)
        for _ in jobs.do(partial(_numbering, folder / _ITEMS), partitions):
            pass
        kept = k_core_of(partitions, len(item_ids), k, where, notes)
        return joined(partitions, kept, item_ids)


def _sources(table: TableFile, rows: pl.LazyFrame, n_rows: int) -> list[Source]:
    """The log as a whole; cut, where others do parts and a cut costs nothing."""
    if not jobs.is_shared() or table.kind != "parquet":
        return [Source(rows, 0)]
    size = max(1, min(_ROWS, -(-n_rows // _LEAST)))
    return [Source(rows.slice(start, size), start) for start in range(0, n_rows, size)]


def _key(table: TableFile, rows: pl.LazyFrame) -> str:
    """Changes with any file of a table, and with what is read of it."""
    stats = [(str(path), path.stat()) for path in table.parts]
    files = tuple(f"{name} {s.st_size} {s.st_mtime_ns}" for name, s in stats)
    return fingerprint(files, rows.explain(optimized=False))


_ITEMS = "items.parquet"


def _spilling(folder: Path, count: int, where: object) -> Callable[[Source], None]:
    """What writes the rows of a source into a file for each partition."""

    def spill(source: Source) -> None:
        target = folder / "rows" / f"{source.first_row:012d}"
        if target.exists():
            return
        rows = source.rows.with_row_index("row", offset=source.first_row)
        try:
            hashed = _hashed(rows.collect_schema()["user"])
        except ValueError as error:
            raise DataError(f"{where}: user {error}") from None
        key = (hashed % count).alias("partition")
        with whole(target) as temporary:
            rows.sink_parquet(
                pl.PartitionBy(temporary, key=key, include_key=False),
                compression="lz4",
                statistics=False,
                mkdir=True,
            )

    return spill


def _hashed(dtype: pl.DataType) -> pl.Expr:
    """A number that is the same for all ways to write the same user.

    Raises:
        ValueError: ids cannot be of this type.
    """
    if dtype.is_integer():
        return pl.col("user").hash(seed=0)
    text = as_text("user", dtype).str.strip_chars(SPACE)
    number = text.str.extract(r"^[+-]?0*([0-9]+?)(?:\.0+)?$")
    return pl.coalesce(number, text, pl.lit("")).hash(seed=0)


def _check_times(folder: Path, where: object) -> bool:
    """Whether a time of 0 is none, as beside milliseconds.

    Raises:
        DataError: see `times.check_unit`.
    """
    rows = pl.scan_parquet(sorted(folder.glob("rows/*/*/*.parquet")), hive_partitioning=False)
    time = times.numbers(rows, where)
    first = rows.filter(pl.col("row") < _SAMPLE).sort("row").select(time)
    bounds = rows.select(time).select(
        zero=(pl.col("time") == 0).any(),
        low=pl.col("time").filter(pl.col("time") > 0).min(),
        high=pl.col("time").max(),
    )
    found = bounds.collect(engine="streaming").row(0, named=True)
    return times.check_bounds(
        first.collect()["time"], bool(found["zero"]), found["low"], found["high"], where
    )


def _ordering(no_zero: bool, where: object) -> Callable[[Partition], Counts]:
    """What puts the rows of a partition in order: by user, then by time, without repetitions."""

    def order(partition: Partition) -> Counts:
        about = partition.file("json")
        if about.exists():
            made: Counts = read_json(about)
            return made
        counts = _ordered(partition, no_zero, where)
        write_json(about, counts)
        return counts

    return order


def _ordered(partition: Partition, no_zero: bool, where: object) -> Counts:
    files = partition.spilled
    if not files:
        _write(partition, pl.Series("user", [], pl.String), np.zeros(0, np.uint32), None, None)
        return Counts(rows=0, known=0, timed=0, repeated=0, timeless=None, changed={})
    rows = pl.scan_parquet(files, hive_partitioning=False, glob=False).sort("row")
    events = collect_events(rows.drop("row"), where=where)
    frame = events.frame
    try:
        users, user_changes = coded_with_changes(frame["user"])
        items, item_changes = coded_with_changes(frame["item"])
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    known = users.known & items.known
    time = frame["time"].set(frame["time"] == 0, None) if no_zero else frame["time"]
    kept = known & time.is_not_null().to_numpy()
    timeless = None
    if not kept[known].all():
        first = int(np.flatnonzero(known & ~kept)[0])
        row, raw = rows.select("row", "time").slice(first, 1).collect().row(0)
        timeless = (int(row) + 1, raw if isinstance(raw, str | int | float | None) else str(raw))
    user, item = users.codes[kept], items.codes[kept]
    when = time.filter(pl.Series(kept)).to_numpy()
    order = stable_order(when, user) if len(when) else np.zeros(0, dtype=np.int64)
    user, item, when = user[order], item[order], when[order]
    repeated = duplicates(user, item, when)
    user, item, when = user[~repeated], item[~repeated], when[~repeated]
    names = users.names.unique("code").sort("code")
    present, lengths = np.unique(user, return_counts=True)
    ids = names.filter(pl.col("code").is_in(pl.Series(present).implode()))["id"]
    of_items = items.names.unique("code")
    item_ids = pl.DataFrame({"code": item}).join(
        of_items.with_columns(pl.col("code").cast(pl.UInt32)), on="code", maintain_order="left"
    )["id"]
    _write(partition, ids, lengths, item_ids, when)
    return Counts(
        rows=len(frame),
        known=int(known.sum()),
        timed=int(kept.sum()),
        repeated=int(repeated.sum()),
        timeless=timeless,
        changed={"user": user_changes.rows(), "item": item_changes.rows()},
    )


def _write(
    partition: Partition,
    users: pl.Series,
    lengths: NDArray[np.integer],
    items: pl.Series | None,
    when: NDArray[np.number] | None,
) -> None:
    """Write a partition in order: users, item ids, times."""
    table = {"user": users, "length": pl.Series(lengths, dtype=pl.UInt32)}
    named = pl.Series("item", [], pl.String) if items is None else items
    with atomic_path(partition.file("users.parquet")) as path:
        pl.DataFrame(table).write_parquet(path)
    with atomic_path(partition.file("item-ids.parquet")) as path:
        pl.DataFrame({"item": named}).write_parquet(path, compression="lz4")
    save(partition.file("times.npy"), np.zeros(0) if when is None else when.astype(np.float64))


def _report(counts: Sequence[Counts], where: object, notes: list[str]) -> None:
    """Say what was dropped or read as something else.

    Raises:
        DataError: nothing is left, or too many rows have no time.
    """
    for noun in ("user", "item"):
        changed = [row for c in counts for row in c["changed"].get(noun, [])]
        notes += changes_told(changed, noun)
    firsts = [c["timeless"] for c in counts if c["timeless"] is not None]
    rows, known, timed, repeated = (
        sum(c[name] for c in counts) for name in ("rows", "known", "timed", "repeated")
    )
    if not known:
        raise DataError(f"{where}: every row lacks a user or an item; expected ids in both")
    if timed < known:
        drop_timeless(known, timed, min((row, time) for row, time in firsts), where, notes)
    note_lacking(rows - known, notes)
    note_repeated(repeated, notes)


def _number_items(folder: Path) -> tuple[str, ...]:
    """Number the items of all partitions in the order of their ids, and keep the numbers."""
    found = pl.scan_parquet(sorted(folder.glob("partitions/*.item-ids.parquet")), glob=False)
    distinct = found.select(id="item").unique().collect(engine="streaming")
    table = in_row_order(distinct).with_row_index("number")
    with atomic_path(folder / _ITEMS) as path:
        table.write_parquet(path)
    return tuple(table["id"])


def _numbering(items: Path) -> Callable[[Partition], None]:
    """What turns the item ids of a partition into numbers."""
    table = pl.read_parquet(items, glob=False)

    def number(partition: Partition) -> None:
        ids = pl.read_parquet(partition.file("item-ids.parquet"), glob=False)
        joined = ids.join(table, left_on="item", right_on="id", maintain_order="left")
        save(partition.file("items.npy"), joined["number"].to_numpy().astype(np.int32))

    return number
