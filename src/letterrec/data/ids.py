"""External ids: what counts as a user or item id, whichever file, call or request it comes from.

One rule, cell by cell: an id never depends on other ids of its column. `as_id` applies it to one
value, `as_ids` to the distinct texts of a column, `coded` to a whole column of categories.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable
from decimal import Decimal
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.errors import DataError, RequestError

MISSING = ("nan", "null", "none", "<na>")  # in any case: how tools write a missing value
WHOLE = r"^[+-]?[0-9]+\.0+$"  # a whole number that a tool stored as a float
# A float so large that digits may be lost; 1e16 without sign or fraction may be a hash, an id.
ROUNDED = r"^[+-]?[0-9](\.[0-9]+)?[eE]\+[0-9]+$|^[+-]?[0-9]\.[0-9]+[eE][0-9]+$"
_EXACT = 2**53  # above it, floats cannot hold every whole number
# what str.isspace says is white space, for Polars, whose own list is another
SPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)


def as_id(value: object) -> str | None:
    """The id that a value stands for; None where it stands for none.

    Text is stripped of surrounding white space; an integer becomes its digits; a whole number
    that was stored as a float (``1.0``, also as text) is the same id as the integer. NaN, None,
    empty text and the words ``nan``, ``null``, ``none``, ``<na>`` are no ids.

    Raises:
        ValueError: the value cannot be an id: true or false, a list, a date, text that is not
            valid Unicode, or a float so large that its digits may be lost; the message says what
            came and what is expected.

    >>> [as_id(v) for v in (7, 7.0, "7.0", " 007 ", 1.5, float("nan"), "NULL", "")]
    ['7', '7', '7', '007', '1.5', None, None, None]
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _of_text(value)
    if type(value) is int:
        return str(value)
    if isinstance(value, bool) or not isinstance(value, Integral | Real | Decimal):
        if type(value).__name__ in ("NaTType", "NAType"):  # of pandas
            return None
        kind = type(value).__name__
        raise ValueError(f"{value!r} is no id ({kind}); expected text or a whole number")
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite() and value == int(value):
        return str(int(value))
    number = float(value)
    if math.isnan(number):
        return None
    if not number.is_integer():
        return str(number)
    if abs(number) >= _EXACT:
        raise ValueError(_rounded(value))
    return str(int(number))


def checked_id(value: object, *place: object) -> str | None:
    """`as_id` of a value of a file.

    Raises:
        DataError: it cannot be an id; the message begins with ``place``, such as the file and row.
    """
    try:
        return as_id(value)
    except ValueError as error:
        raise DataError(": ".join(str(part) for part in (*place, error))) from None


def _of_text(value: str) -> str | None:
    text = value.strip()
    if not text or text.lower() in MISSING:
        return None
    if re.match(WHOLE, text):
        whole = int(text.partition(".")[0])
        if abs(whole) >= _EXACT:
            raise ValueError(_rounded(value))
        return str(whole)
    if re.match(ROUNDED, text):
        raise ValueError(_rounded(value))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        near = text[max(0, error.start - 8) : error.end + 8]
        raise ValueError(f"an id is not UTF-8 near {near!r}; expected ids of valid text") from None
    return text


def _rounded(value: object) -> str:
    return (
        f"the id {value!r} was stored as a float and may have lost digits; "
        "expected text or whole numbers: export the column as text"
    )


def split_ids(text: str, option: str) -> list[str]:
    """The ids of one option of the command line: a line of a CSV file.

    Args:
        text: ids with commas between them; an id that has a comma, or begins with a quote, stands
            in quotes.
        option: its name, for messages.

    Raises:
        RequestError: the quotes do not match, or a part is no id.

    >>> split_ids('"Tyler, The Creator", 12" Single,7', "--history")
    ['Tyler, The Creator', '12" Single', '7']
    """
    hint = "quote an id that has a comma, as in '\"Tyler, The Creator\",Other'"
    try:
        rows = list(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise RequestError(f"{option} {text}: not a list of ids ({error}); {hint}") from None
    ids: list[str] = []
    for part in rows[0] if rows else ():
        if not part.strip():
            continue  # as in "a,,b"
        found = as_id(part)
        if found is None:
            raise RequestError(f"{option} {text}: {part.strip()!r} is no id")
        ids.append(found)
    return ids


def as_ids(texts: pl.Series) -> pl.Series:
    """`as_id` of every text of a column; null where it stands for none.

    Raises:
        ValueError: as `as_id`, for the first text that cannot be an id.

    >>> as_ids(pl.Series(["7.0", " a", "NaN", None])).to_list()
    ['7', 'a', None, None]
    """
    text = pl.col("text").str.strip_chars(SPACE)
    missing = text.str.to_lowercase().is_in(["", *MISSING])
    whole = text.str.extract(r"^([+-]?[0-9]{1,15})\.0+$").cast(pl.Int64).cast(pl.String)
    number = text.str.contains(f"{WHOLE}|{ROUNDED}")
    ids = pl.when(~missing).then(pl.coalesce(whole, text)).alias("id")
    frame = texts.rename("text").to_frame().select("text", ids, odd=number & whole.is_null())
    for value in frame.filter("odd")["text"].unique(maintain_order=True):
        if as_id(value) != value.strip():  # raises; or a number with many zeros before or after
            odd = pl.col("odd") & (pl.col("text") == value)
            frame = frame.with_columns(
                id=pl.when(odd).then(pl.lit(as_id(value))).otherwise(pl.col("id"))
            )
    return frame["id"]


def as_text(column: str, dtype: pl.DataType) -> pl.Expr:
    """A column of ids as text that `as_ids` reads as `as_id` reads the values.

    Raises:
        ValueError: ids cannot be of this type.
    """
    if dtype.is_decimal():
        return pl.col(column).cast(pl.String).str.replace(r"\.0+$", "")
    if dtype == pl.Float32:  # whose digits end long before those of other floats
        number = pl.col(column).cast(pl.Float64)
        lost = number.abs() >= 2**24
        return (
            pl.when(lost)
            .then(pl.format("{}e+0", number.sign().cast(pl.Int8)))
            .otherwise(pl.col(column).cast(pl.String))
        )
    text = (pl.String, pl.Categorical, pl.Enum, pl.Null)
    if not (dtype.is_integer() or dtype == pl.Float64 or dtype in text):
        raise ValueError(f"ids are {dtype}; expected text or integers")
    return pl.col(column).cast(pl.String)


def sorted_ids(ids: Iterable[str]) -> list[str]:
    """Distinct ids `in_row_order`.

    Raises:
        DataError: an id is not valid Unicode.

    >>> sorted_ids(["10", "9", "10"]), sorted_ids(["u10", "u9", "7"])
    (['9', '10'], ['7', 'u10', 'u9'])
    """
    try:
        distinct = pl.DataFrame({"id": list(set(ids))}, schema={"id": pl.String})
    except UnicodeEncodeError as error:
        near = str(error.object)[max(0, error.start - 8) : error.end + 8]
        raise DataError(f"an id is not UTF-8 near {near!r}; expected ids of valid text") from None
    return in_row_order(distinct)["id"].to_list()


def in_row_order(frame: pl.DataFrame) -> pl.DataFrame:
    """A table sorted by its column ``id``: by number where all ids are numbers, else by code
    point.
    """
    number = pl.col("id").str.strip_chars_start("0")
    if frame["id"].str.contains(r"^[0-9]+$").all():
        return frame.sort(number.str.len_bytes(), number, "id")
    return frame.sort("id")


_CHANGED = {"raw": pl.String, "id": pl.String, "rows": pl.Int64}


class Coded(NamedTuple):
    """A column of ids as numbers.

    Attributes:
        codes: uint32 ``(n,)``, equal where the ids are; of no meaning where not ``known``.
        known: bool ``(n,)``: rows that have an id.
        names: ``id`` and ``code`` of each distinct id.
    """

    codes: NDArray[np.uint32]
    known: NDArray[np.bool_]
    names: pl.DataFrame


def coded(column: pl.Series, noun: str, notes: list[str]) -> Coded:
    """Apply the rule to a column of categories; what it changed is counted in ``notes``.

    Raises:
        ValueError: as `as_id`.
    """
    found, changed = coded_with_changes(column)
    notes += changes_told(changed.rows(), noun)
    return found


def coded_with_changes(column: pl.Series) -> tuple[Coded, pl.DataFrame]:
    """Apply the rule to a column of categories.

    Returns:
        The column as numbers; and of each id that it changed ``raw``, ``id`` (null where it is
        none) and how many ``rows`` have it.

    Raises:
        ValueError: as `as_id`.
    """
    codes = column.to_physical().fill_null(0).to_numpy()
    known = column.is_not_null().to_numpy()
    categories = column.unique().drop_nulls()
    raw = categories.cast(pl.String)
    names = pl.DataFrame({"raw": raw, "id": as_ids(raw), "code": categories.to_physical()})
    changed = names.filter(pl.col("id").ne_missing(pl.col("raw")))
    if len(changed):
        rows = np.bincount(codes[known])
        changed = changed.with_columns(rows=pl.Series(rows[changed["code"].to_numpy()]))
        missing = np.zeros(len(rows), dtype=bool)
        missing[changed.filter(pl.col("id").is_null())["code"].to_numpy()] = True
        known = known & ~missing[codes]
        names = names.drop_nulls("id").with_columns(same=pl.col("code").min().over("id"))
        lookup = np.arange(len(rows), dtype=np.uint32)
        lookup[names["code"].to_numpy()] = names["same"].to_numpy()
        codes = lookup[codes]
        names = names.select("id", code="same").unique()
    told = changed.select("raw", "id", "rows") if len(changed) else pl.DataFrame(schema=_CHANGED)
    return Coded(codes, known, names.select("id", "code")), told


def changes_told(changed: Iterable[tuple[str, str | None, int]], noun: str) -> list[str]:
    """A line for each kind of change; ids may come several times."""
    frame = pl.DataFrame([tuple(row) for row in changed], schema=_CHANGED, orient="row")
    return list(_changes(frame.group_by("raw", "id").agg(pl.col("rows").sum()), noun))


def _changes(changed: pl.DataFrame, noun: str) -> Iterable[str]:
    """A line for each kind of change; ``changed`` has the columns raw, id, rows."""
    stripped = pl.col("raw").str.strip_chars(SPACE)
    is_missing = pl.col("id").is_null()
    kinds = [
        (is_missing & (stripped != ""), "like {raw!r}: read as missing"),
        (
            ~is_missing & stripped.str.contains(WHOLE),
            "stored as floats ({raw!r}): read as whole numbers ({id!r})",
        ),
        (
            ~is_missing & (stripped != pl.col("raw")),
            "with spaces around them ({raw!r}): read without ({id!r})",
        ),
    ]
    for which, line in kinds:
        found = changed.filter(which).sort("raw")
        if len(found):
            n, first = int(found["rows"].sum()), found.row(0, named=True)
            yield f"{n:,} {noun} id{'' if n == 1 else 's'} {line.format(**first)}"
