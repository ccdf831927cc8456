"""Times of interactions, in any notation, as numbers in the same order.

Each cell is read on its own: a time never depends on other cells of its column.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.errors import DataError

YEAR_2100 = 4_102_444_800  # in seconds since 1970
EXPECTED = "seconds or milliseconds since 1970, or ISO 8601 (2018-07-31 or 2018-07-31T12:00:00)"
_ISO_8601 = (
    r"^(?:(\d{4})-?(\d\d)-?(\d\d)|(\d{4}-?W\d\d-?\d)|(\d{4}-\d{3}))"  # calendar, week or ordinal
    r"(?:[Tt ] *(\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)?"
    r"(?: *(?:[Zz]|UTC|GMT|([+-]\d\d)(?::?(\d\d))?))?)?$"
)
_CTIME = "%a %b %d %T %z %Y"  # Tue Apr 03 18:00:09 +0000 2012
_FARTHEST = 18  # hours from UTC that any zone may be, as in java.time
_ROUNDED = r"^[0-9](\.[0-9]{1,6})?[eE]\+?[0-9]+$"  # 1.50000E+09: minutes or days are lost
_FEW = 3  # times that all look like 140717, and hardly by chance
_SAMPLE = 1000  # rows by which the quickest way to read a column is chosen


def numbers(frame: pl.LazyFrame, where: object) -> pl.Expr:
    """The column ``time`` of a log as numbers, in one of several units: seconds to nanoseconds
    since 1970. Null where it is no time, negative or beyond 2100.

    Raises:
        DataError: the column is of a type that holds no times, or a spreadsheet has rounded it.
    """
    dtype = frame.collect_schema()["time"]
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        sample = frame.select(pl.col("time").cast(pl.String)).head(_SAMPLE).collect()["time"]
        _refuse_rounded(sample.str.strip_chars().drop_nulls(), where)
        return _of_text(sample)
    time = pl.col("time")
    if dtype == pl.Null or dtype.is_integer():
        return _within(time.cast(pl.Int64, strict=False), YEAR_2100 * 10**9)
    if dtype.is_float() or dtype.is_decimal():
        return _within(time.cast(pl.Float64), YEAR_2100 * 10**9)
    if dtype in (pl.Date, pl.Datetime):
        return _within(time.dt.epoch("us") / 10**6, YEAR_2100)
    raise DataError(f"{where}: times are {dtype}; expected numbers, ISO 8601 text or dates")


def _refuse_rounded(texts: pl.Series, where: object) -> None:
    texts = texts.filter(texts != "")
    if len(texts) and texts.str.contains(_ROUNDED).all():
        raise DataError(
            f"{where}: times such as {texts[0]} were rounded, as a spreadsheet does, and their "
            "order is lost; export the column as whole numbers or text"
        )


def of_any_text(time: pl.Expr) -> pl.Expr:
    """A column of text, each cell a number or a date and time, as `numbers`."""
    text = _stripped(time)
    number = text.cast(pl.Float64, strict=False)
    return pl.coalesce(_within(number, YEAR_2100 * 10**9), _within(_moment(text), YEAR_2100))


def _of_text(sample: pl.Series) -> pl.Expr:
    """The quickest way to read text that is like the sample; it may leave further times null."""
    time = pl.col("time")
    texts = sample.str.strip_chars()
    texts = texts.filter((texts != "").fill_null(False))
    for dtype in (pl.Int64, pl.Float64):
        if texts.cast(dtype, strict=False).is_not_null().all():
            return _within(_stripped(time).cast(dtype, strict=False), YEAR_2100 * 10**9)
    if texts.cast(pl.Float64, strict=False).is_null().all():
        return _within(_moment(_stripped(time)), YEAR_2100)
    return of_any_text(time)


def _stripped(time: pl.Expr) -> pl.Expr:
    return time.cast(pl.String).str.strip_chars()


def _within(number: pl.Expr, latest: int) -> pl.Expr:
    """Null where it is not from 1970 to ``latest``; NaN and infinity are not."""
    return pl.when(number >= 0, number < latest).then(number).alias("time")


def _moment(text: pl.Expr) -> pl.Expr:
    """ISO 8601, extended or basic, and ctime with an offset, as seconds since 1970; UTC where
    there is no offset.
    """
    part = text.str.extract_groups(_ISO_8601).struct
    year, month, day, week, ordinal, hour, minute, second, fraction, zone, zone_minute = (
        part.field(str(i)) for i in range(1, 12)
    )
    date = pl.coalesce(
        (year + month + day).str.to_date("%Y%m%d", strict=False),
        week.str.replace_all("-", "").str.to_date("%GW%V%u", strict=False),
        ordinal.str.to_date("%Y-%j", strict=False),
    )
    offset = zone.cast(pl.Int64).fill_null(0).abs() <= _FARTHEST
    offset &= zone_minute.cast(pl.Int64).fill_null(0) < 60
    h, m, s = (p.cast(pl.Int64).fill_null(0) for p in (hour, minute, second))
    of_day = h * 3600 + m * 60 + s
    possible = (h < 24) & (m < 60) & (s <= 60) | (of_day == 86_400) & (h == 24)
    digits = fraction.fill_null("").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64)
    ahead = zone.cast(pl.Int64).fill_null(0) * 3600
    minutes = zone_minute.cast(pl.Int64).fill_null(0) * 60
    ahead += pl.when(zone.str.starts_with("-")).then(-minutes).otherwise(minutes)
    whole = date.dt.epoch("s") + of_day - ahead
    iso = pl.when(possible & offset).then(whole + digits / 10**6)
    ctime = text.str.to_datetime(_CTIME, time_unit="us", time_zone="UTC", strict=False)
    return pl.coalesce(iso, ctime.dt.epoch("us") / 10**6)


def in_seconds(times: NDArray[np.number]) -> NDArray[np.float64]:
    """Times that `check_unit` let pass, as seconds since 1970.

    >>> in_seconds(np.array([1_700_000_000_000])).tolist(), in_seconds(np.array([5.0])).tolist()
    ([1700000000.0], [5.0])
    """
    return np.asarray(times / per_second(float(times.max(initial=0))), dtype=np.float64)


def moment(text: str) -> float | None:
    """One time in any notation, as seconds since 1970; None where it is none.

    >>> moment("1970-01-02"), moment("1700000000"), moment("soon")
    (86400.0, 1700000000.0, None)
    """
    found = pl.select(of_any_text(pl.lit(text))).item()
    return None if found is None else float(found) / per_second(float(found))


def per_second(latest: float) -> int:
    """How many make a second, by the latest of the times."""
    return next((u for u in (1, 10**3, 10**6) if latest < YEAR_2100 * u), 10**9)


def check_bounds(
    first: pl.Series, has_zero: bool, low: float | None, high: float | None, where: object
) -> bool:
    """`check_unit` of a log that is not held as a whole.

    Args:
        first: times of the first rows.
        has_zero: whether any time is 0.
        low: the lowest time above 0; None where there is none.
        high: the highest time; None where there is none.
        where: the file, for errors.

    Returns:
        Whether a time of 0 is none.

    Raises:
        DataError: see `check_unit`.
    """
    _refuse_dates(first, where)
    if low is None or high is None:
        return False
    _refuse_mixed(low, high, f"{low:.15g} and {high:.15g}", where)
    return has_zero and per_second(high) > 1


def check_unit(times: pl.Series, where: object) -> pl.Series:
    """The times, null for a 0 beside milliseconds or finer.

    Raises:
        DataError: they are in different units, so that their order would mean nothing; or they
            are dates written as numbers.
    """
    _refuse_dates(times.head(10_000), where)
    low, high = times.arg_min(), times.arg_max()
    if low is None or high is None:
        return times
    if times[low] == 0 and per_second(times[high]) > 1:
        times = times.set(times == 0, None)
        low = times.arg_min()
        assert low is not None
    rows = f"{times[low]:.15g} in row {low + 1}, {times[high]:.15g} in row {high + 1}"
    _refuse_mixed(times[low], times[high], rows, where)
    return times


def _refuse_mixed(low: float, high: float, shown: str, where: object) -> None:
    """Refuse times whose lowest above 0 and whose highest are not in one unit."""
    unit = per_second(high)
    if unit > 1 and low < YEAR_2100 * unit / 1000:
        raise DataError(
            f"{where}: times are in different units or absurd: {shown}; "
            "expected seconds or milliseconds throughout"
        )


def _refuse_dates(times: pl.Series, where: object) -> None:
    """Refuse times of which nine tenths look like 20180731, 31072018 or 20180731223954.

    Numbers such as 140717, which may be seconds of 1970, are refused only if all look like dates.
    """
    values = times.drop_nulls().to_numpy()
    whole = values[values == np.floor(values)].astype(np.int64)
    dates = len(whole) and np.mean(_like_date(whole)) * len(whole) >= 0.9 * len(values)
    short = len(whole) == len(values) >= _FEW and bool(np.all(_like_short_date(whole)))
    if dates or short:
        raise DataError(
            f"{where}: times such as {int(whole[0])} look like dates written as numbers; expected "
            f"{EXPECTED}"
        )


def _like_date(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool ``(n,)``: YYYYMMDD, followed by hour, minute, ... or not; DDMMYYYY and MMDDYYYY."""
    n = numbers
    dates = np.zeros(len(n), dtype=bool)
    clocks: tuple[tuple[int, ...], ...] = ((), (24,), (24, 60), (24, 60, 60), (24, 60, 60, 1000))
    for clock in clocks:
        digits = 8 + 2 * len(clock) + (clock[-1:] == (1000,))
        rest, fits = n, np.ones(len(n), dtype=bool)
        for limit in reversed(clock):
            base = max(100, limit)
            fits &= rest % base < limit
            rest = rest // base
        year, month, day = rest // 10_000, rest // 100 % 100, rest % 100
        fits &= (year >= 1900) & (year < 2100) & _in(month, 12) & _in(day, 31)
        dates |= fits & (n >= 10 ** (digits - 1)) & (n < 10**digits)
    first, second, year = n // 1_000_000, n // 10_000 % 100, n % 10_000
    one = _in(first, 31) & _in(second, 12) | _in(first, 12) & _in(second, 31)
    return dates | one & (year >= 1900) & (year < 2100)


def _like_short_date(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool ``(n,)``: YYMMDD, DDMMYY or MMDDYY; of five digits where the first is a lost 0."""
    first, second, third = numbers // 10_000, numbers // 100 % 100, numbers % 100
    fits = _in(second, 12) & (_in(third, 31) | _in(first, 31)) | _in(first, 12) & _in(second, 31)
    return fits & (numbers > 10_000) & (numbers < 1_000_000)


def _in(values: NDArray[np.int64], largest: int) -> NDArray[np.bool_]:
    return (values >= 1) & (values <= largest)
