"""The path of every interaction log: checked columns -> k-core -> time order -> `Dataset`.

Knows which ids and times are acceptable, the tie rule and the k-core. Leaves finding the three
columns ``user``, ``item`` and ``time`` to the readers.

Order: a user's interactions by time; those at the same time stay in the order of the source.
Rows of users and items: by id (`catalogue.in_row_order`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.data.catalogue import Catalogue, counted, in_row_order, titles_and_texts
from letterrec.data.dataset import Dataset, Histories
from letterrec.data.jsonlines import frames
from letterrec.errors import DataError

DEFAULT_K_CORE = 5
_YEAR_2100 = 4_102_444_800  # in seconds since 1970
_ISO_8601 = ("%+", "%FT%T%.f", "%FT%H:%M")  # with an offset, without (then UTC), to the minute


@contextmanager
def reading(path: object) -> Iterator[None]:
    """Turn what polars says about a file into a `DataError` of one line."""
    try:
        yield
    except pl.exceptions.NoDataError:
        raise DataError(f"{path} is empty; expected a header and rows") from None
    except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{path} cannot be read ({reason}); repair it or export it again") from None


def collect_events(frame: pl.LazyFrame, *, where: object, first_row: int = 1) -> pl.DataFrame:
    """Check and shrink a log: 16 bytes per interaction, in the order of the source.

    Args:
        frame: columns ``user`` and ``item`` (text, integers or categories), ``time`` (seconds or
            milliseconds since 1970 as numbers or numeric text, ISO 8601 text, dates).
        where: the file, for errors.
        first_row: number of the first row, for errors.

    Returns:
        ``user``, ``item``: categories, null or empty where the id is missing; ``time``: int64 or
        float64, null in some rows without both.

    Raises:
        DataError: a column has an unusable type; a time cannot be parsed, is negative or lies
            beyond the year 2100.
    """
    with reading(where):
        schema = frame.collect_schema()
        for column in ("user", "item"):
            dtype = schema[column]
            if not (dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
                raise DataError(f"{where}: {column} ids are {dtype}; expected text or integers")
        ids = [pl.col(c).cast(pl.String).cast(pl.Categorical) for c in ("user", "item")]
        events = frame.select(*ids, _time(frame, where)).collect(engine="streaming")
        has_id = _is_known(events["user"]) | _is_known(events["item"])
        bad = (events["time"].is_null() & has_id).arg_true()
        if len(bad):
            value = frame.select("time").slice(int(bad[0]), 1).collect().item()
            raise DataError(
                f"{where}: row {first_row + int(bad[0])} has time {value!r}; expected seconds or "
                "milliseconds since 1970, or ISO 8601 (2018-07-31 or 2018-07-31T12:00:00)"
            )
    return events


def collect_json_lines(
    path: Path,
    keys: Mapping[str, str],
    prepare: Callable[[pl.LazyFrame], pl.LazyFrame] = lambda frame: frame,
) -> pl.DataFrame:
    """`collect_events` over JSON lines, a block at a time.

    Args:
        path: the file.
        keys: column -> key: user, item, time and what ``prepare`` needs.
        prepare: makes user, item and time out of the columns of a block.
    """
    columns = {name: pl.col(key) for name, key in keys.items()}
    row, parts = 1, []
    for block in frames(path, list(keys.values())):
        frame = prepare(block.lazy().select(**columns))
        parts.append(collect_events(frame, where=path, first_row=row))
        row += len(block)
    if not parts:
        raise DataError(f"{path} is empty; expected one JSON object per line")
    return pl.concat(parts)


def _time(frame: pl.LazyFrame, where: object) -> pl.Expr:
    """The column ``time`` as a number; null where it is none, negative or beyond 2100."""
    time, dtype = pl.col("time"), frame.collect_schema()["time"]
    latest = _YEAR_2100 * 10**9
    if dtype == pl.Null:
        number = time.cast(pl.Int64)
    elif dtype.is_integer():
        number = time.cast(pl.Int64, strict=False)
    elif dtype.is_float():
        number = time.cast(pl.Float64).fill_nan(None)
    elif dtype in (pl.Date, pl.Datetime):
        number, latest = time.dt.epoch("us") / 10**6, _YEAR_2100
    elif dtype == pl.String:
        first = frame.select("time").head(1).collect()
        if len(first) and _is_number(first.item()):
            number = time.cast(pl.Float64, strict=False).fill_nan(None)
        else:
            text = time.str.strip_chars().str.replace(" ", "T", literal=True)
            moments = [
                text.str.to_datetime(f, time_unit="us", time_zone="UTC", strict=False)
                for f in _ISO_8601
            ]
            days = text.str.to_date("%F", strict=False).cast(pl.Datetime("us", "UTC"))
            number, latest = pl.coalesce(*moments, days).dt.epoch("us") / 10**6, _YEAR_2100
    else:
        raise DataError(f"{where}: times are {dtype}; expected numbers, ISO 8601 text or dates")
    return pl.when(number >= 0, number < latest).then(number).alias("time")


def _is_known(ids: pl.Series) -> pl.Series:
    return (ids != "").fill_null(False)


def _is_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def dataset_from_events(
    events: pl.DataFrame,
    *,
    name: str,
    where: object,
    k_core: int | None = None,
    catalogue: Catalogue | None = None,
    warnings: Sequence[str] = (),
) -> Dataset:
    """Build the data set out of what `collect_events` gave (one frame, or several joined).

    Exact duplicates (same user, item and time) are dropped first, then the k-core is taken;
    both are counted in the warnings. None for ``k_core`` means 5.

    Raises:
        DataError: no interaction is left; times are in different units.
    """
    notes = list(warnings)
    k = DEFAULT_K_CORE if k_core is None else k_core
    if not len(events):
        raise DataError(f"{where} holds no interactions; expected user, item and time in each row")
    known = _is_known(events["user"]) & _is_known(events["item"])
    if not known.any():
        raise DataError(f"{where}: every row lacks a user or an item; expected ids in both")
    _check_unit(events["time"], where)
    if not known.all():
        notes.append(f"{counted(int((~known).sum()), 'interaction')} without user or item: dropped")
        events = events.filter(known)

    users, items = events["user"].to_physical(), events["item"].to_physical()
    names = {
        c: events.select(pl.col(c).unique()).with_columns(code=pl.col(c).to_physical())
        for c in ("user", "item")
    }
    user, item, time = users.to_numpy(), items.to_numpy(), events["time"].to_numpy()
    order = stable_order(time, user)
    user, item, time = user[order], item[order], time[order]
    del events, users, items, order
    repeated = duplicates(user, item, time)
    del time
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

    found, others = catalogue(set(item_ids)) if catalogue else ({}, 0)
    if others:
        notes.append(f"{counted(others, 'catalogue item')} without interactions: dropped")
    titles, texts = titles_and_texts(item_ids, found, notes)
    return Dataset(name, user_ids, item_ids, interactions, titles, texts, warnings=tuple(notes))


def _check_unit(times: pl.Series, where: object) -> None:
    """Refuse seconds beside milliseconds: their order would mean nothing."""
    low, high = times.arg_min(), times.arg_max()
    assert low is not None
    assert high is not None
    unit = next((u for u in (1, 10**3, 10**6) if times[high] < _YEAR_2100 * u), 10**9)
    if unit > 1 and times[low] < _YEAR_2100 * unit / 1000:
        raise DataError(
            f"{where}: times are in different units or absurd: {times[low]:.15g} in row {low + 1}, "
            f"{times[high]:.15g} in row {high + 1}; expected seconds or milliseconds throughout"
        )


def _rows(
    codes: NDArray[np.uint32], names: pl.DataFrame
) -> tuple[tuple[str, ...], NDArray[np.uint32]]:
    """The ids that occur, in the order of their rows, and the code of each."""
    present = pl.Series(np.flatnonzero(np.bincount(codes)), dtype=pl.UInt32)
    frame = names.select(pl.nth(0).cast(pl.String).alias("id"), "code")
    ordered = in_row_order(frame.filter(pl.col("code").is_in(present.implode())))
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
