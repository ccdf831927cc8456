"""The path of every interaction log: checked columns -> k-core -> time order -> `Dataset`.

Order: a user's interactions by time; those at the same time stay in the order of the source.
Rows of users and items: by id (`catalogue.in_row_order`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.data import times
from letterrec.data.dataset import Dataset
from letterrec.data.ids import as_text, coded
from letterrec.data.readers.jsonlines import frames
from letterrec.data.readers.malformed import reason_of
from letterrec.data.sequences import Histories
from letterrec.data.text import (
    Catalogue,
    ItemText,
    check_match,
    counted,
    in_row_order,
    titles_and_texts,
)
from letterrec.errors import DataError

DEFAULT_K_CORE = 5
MOST_TIMELESS = 0.1  # share of the rows that may lack a time, and are dropped then


@contextmanager
def reading(path: object, separator: str = "") -> Iterator[None]:
    """Turn what polars says about a file into a `DataError` of one line.

    Args:
        path: of the file.
        separator: between the fields of a CSV file.
    """
    try:
        yield
    except pl.exceptions.NoDataError:
        raise DataError(f"{path} is empty; expected a header and rows") from None
    except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
        reason = str(error).strip().splitlines()[0]
        if separator and isinstance(path, Path) and isinstance(error, pl.exceptions.PolarsError):
            raise DataError(f"{path} {reason_of(path, reason, separator)}") from None
        raise DataError(f"{path} cannot be read ({reason}); repair it or export it again") from None


def check_text(path: Path) -> None:
    """Refuse a text file (not gzipped) that polars would read without an error, and wrongly.

    Raises:
        DataError: it is UTF-16, or binary, or its lines end as on old Macs.
    """
    if path.suffix.lower() == ".gz":
        return
    with reading(path), path.open("rb") as file:
        head = file.read(1 << 16)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16; convert it to UTF-8")
    if b"\0" in head:
        raise DataError(f"{path} has NUL bytes (UTF-16, or no text); convert it to UTF-8")
    if b"\r" in head and b"\n" not in head:
        raise DataError(rf"{path} has lines that end in \r alone; save it with \n at their ends")


@dataclass(frozen=True, eq=False)
class Events:
    """A log in little memory, in the order of the source.

    Attributes:
        frame: ``user``, ``item``: categories, null where the cell is empty; ``time``: int64 or
            float64, null where it is no time.
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
            `times` reads them: numbers since 1970, text, dates).
        where: the file, for errors.
        first_row: number of the first row, for errors.
        separator: as `reading`.

    Raises:
        DataError: the file cannot be read; a column is of a type that cannot be used.
    """
    with reading(where, separator):
        schema = frame.collect_schema()
        ids = []
        for column in ("user", "item"):
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
    catalogue: Catalogue | None = None,
    warnings: Sequence[str] = (),
) -> Dataset:
    """Build the data set out of what `collect_events` gave.

    Rows without an id, then those without a time, then exact duplicates (same user, item and
    time) are dropped, then the k-core is taken; all are counted in the warnings. None for
    ``k_core`` means 5.

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
        _drop_timeless(int(known.sum()), int(kept.sum()), first, where, notes)
    lacking = len(known) - int(known.sum())
    if lacking:
        notes.append(f"{counted(lacking, 'interaction')} without user or item: dropped")
    user, item, when = users.codes, items.codes, time.fill_null(0).to_numpy()
    if not kept.all():
        user, item, when = user[kept], item[kept], when[kept]
    names = {"user": users.names, "item": items.names}
    del events, frame, users, items, time, known, kept
    order = stable_order(when, user)
    user, item, when = user[order], item[order], when[order]
    del order
    repeated = duplicates(user, item, when)
    del when
    if repeated.any():
        notes.append(
            f"{counted(int(repeated.sum()), 'duplicate interaction')} "
            "(same user, item and time): dropped"
        )
        user, item = user[~repeated], item[~repeated]
    kept = core(user, item, k, where, notes)
    user, item = user[kept], item[kept]

    user_ids, user_codes = _rows(user, names["user"])
    item_ids, item_codes = _rows(item, names["item"])
    item_row = np.zeros(int(item_codes.max()) + 1, dtype=np.int32)
    item_row[item_codes] = np.arange(len(item_codes))
    by_code = Histories(np.append(0, np.cumsum(np.bincount(user))), item_row[item])
    interactions = by_code.take(user_codes)
    note_short(interactions, notes)

    entries: Mapping[str, ItemText] = {}
    if catalogue:
        found = catalogue(set(item_ids))
        check_match(found, item_ids, where, notes)
        entries = found.entries
        if found.others:
            n = counted(found.others, "catalogue item")
            notes.append(f"{n} without interactions: dropped")
    titles, texts = titles_and_texts(item_ids, entries, notes)
    return Dataset(name, user_ids, item_ids, interactions, titles, texts, warnings=tuple(notes))


def _drop_timeless(
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


def stable_order(*keys: NDArray[np.number]) -> NDArray[np.int64]:
    """int64 ``(n,)``: `numpy.lexsort` for numbers that are not negative (the last key decides
    first), by 16 bits at a time, which NumPy sorts in linear time.

    >>> stable_order(np.array([2, 1, 1]), np.array([7, 7, 3])).tolist()
    [2, 1, 0]
    """
    order = np.arange(len(keys[0]))
    for key in keys:
        if key.dtype.kind == "f":  # of such numbers, the bits are in the order of the values
            key = (key + 0.0).view(np.int64)
        low = key.min()
        for shift in range(0, int(key.max() - low).bit_length(), 16):
            digit = ((key - low) >> shift).astype(np.uint16)[order]
            order = order[np.argsort(digit, kind="stable")]
    return order


def duplicates(
    users: NDArray[np.integer], items: NDArray[np.integer], times: NDArray[np.number]
) -> NDArray[np.bool_]:
    """bool ``(n,)``: rows that repeat an earlier one; rows are sorted by user, then time.

    >>> duplicates(np.array([0, 0, 0]), np.array([7, 8, 7]), np.array([1, 1, 1])).tolist()
    [False, False, True]
    """
    repeated = np.zeros(len(users), dtype=bool)
    tied = (users[1:] == users[:-1]) & (times[1:] == times[:-1])  # with the row before
    rows = np.flatnonzero(np.append(tied, False) | np.insert(tied, 0, False))
    if not len(rows):
        return repeated
    group = np.cumsum(np.insert(~tied, 0, True)[rows])
    order = np.lexsort((items[rows], group))
    rows, group = rows[order], group[order]
    same = (group[1:] == group[:-1]) & (items[rows][1:] == items[rows][:-1])
    repeated[rows[1:][same]] = True
    return repeated


def k_core(users: NDArray[np.integer], items: NDArray[np.integer], k: int) -> NDArray[np.int64]:
    """int64: the interactions that are left when users and items with fewer than ``k`` are
    dropped until none is left to drop; the answer does not depend on the order of dropping.

    >>> k_core(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 0]), 2).tolist()
    [0, 1, 2, 3]
    """
    kept = np.arange(len(users))
    while len(kept):
        enough = (np.bincount(users)[users] >= k) & (np.bincount(items)[items] >= k)
        if enough.all():
            break
        kept, users, items = kept[enough], users[enough], items[enough]
    return kept


def core(
    users: NDArray[np.integer],
    items: NDArray[np.integer],
    k: int,
    where: object,
    notes: list[str],
) -> NDArray[np.int64]:
    """`k_core`, with what it dropped among the ``notes``.

    Raises:
        DataError: nothing is left.
    """
    kept = k_core(users, items, k)
    before = (_distinct(users), _distinct(items), len(users))
    if not len(kept):
        size = _size(*before)
        raise DataError(
            f"{where}: of {size} none is left with {k} interactions per user and item; "
            "lower data.k_core (0 filters nothing)"
        )
    if len(kept) < len(users):
        after = (_distinct(users[kept]), _distinct(items[kept]), len(kept))
        dropped = _size(*(b - a for b, a in zip(before, after, strict=True)))
        notes.append(f"{k}-core: {dropped} dropped")
    return kept


def note_short(interactions: Histories, notes: list[str]) -> None:
    """Count the users who are too short to hold anything out."""
    short = int((interactions.lengths < 3).sum())
    if short:
        notes.append(
            f"{counted(short, 'user')} with fewer than 3 interactions: trained on, not evaluated"
        )


def _distinct(codes: NDArray[np.integer]) -> int:
    return int(np.count_nonzero(np.bincount(codes)))


def _size(users: int, items: int, interactions: int) -> str:
    return (
        f"{counted(users, 'user')}, {counted(items, 'item')} and "
        f"{counted(interactions, 'interaction')}"
    )
