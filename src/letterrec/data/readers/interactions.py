"""The path of every interaction log: columns -> ids, times, ratings -> k-core -> `Dataset`.

A reader finds the columns and calls `read_interactions`. A user's interactions are ordered by
time; those at the same time stay in the order of the source. Users and items are ordered by id
(`ids.in_row_order`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.data import times
from letterrec.data.dataset import Dataset
from letterrec.data.ids import coded, in_row_order
from letterrec.data.readers import partitions
from letterrec.data.readers.base import ReadOptions
from letterrec.data.readers.behaviours import behaviours_of
from letterrec.data.readers.compact_log import Events, collect_events, collect_json_lines
from letterrec.data.readers.k_core import duplicates, filter_k_core, note_short, stable_order
from letterrec.data.readers.malformed import as_data_error
from letterrec.data.readers.packed_log import Packed, drop_timeless, note_lacking, note_repeated
from letterrec.data.readers.rated_rows import RatedRows
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
    said = list(notes)
    timed = options.order == "time"
    keys = {"user": columns["user"], "item": columns["item"]}
    if timed:
        keys["time"] = columns["timestamp"]
    for role in ("rating", "behaviour"):
        if role in columns:
            keys[role] = columns[role]
    rows = RatedRows(options, times_format)
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


def _rows(
    codes: NDArray[np.uint32], names: pl.DataFrame
) -> tuple[tuple[str, ...], NDArray[np.uint32]]:
    """The ids that occur, in the order of their rows, and the code of each."""
    present = pl.Series(np.flatnonzero(np.bincount(codes)), dtype=pl.UInt32)
    ordered = in_row_order(names.filter(pl.col("code").is_in(present.implode())))
    return tuple(ordered["id"]), ordered["code"].to_numpy()
