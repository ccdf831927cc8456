"""Files that cannot be read as tables: what is wrong with them, in one line with its number."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from letterrec.errors import DataError

_PACKED = (  # how such files begin
    (b"\x1f\x8b", "gzipped", "give it a name that ends with .gz"),
    (b"PK\x03\x04", "a spreadsheet or a zip file", "save the sheet as .csv, or unpack it"),
    (b"PAR1", "Parquet", "give it a name that ends with .parquet"),
)
_WIDE = re.compile("more fields than|extra_columns")  # as polars has it
_QUOTE_IT = 'put fields with a separator or a quote in quotes, each quote within doubled ("")'


@contextmanager
def as_data_error(path: object, separator: str = "") -> Iterator[None]:
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
            raise DataError(f"{path} {_reason(path, reason, separator)}") from None
        if _WIDE.search(reason):  # of a file without a header, or without quotes
            reason = "a row has more fields than there are columns"
        raise DataError(f"{path} cannot be read ({reason}); repair it or export it again") from None


def not_a_table(path: Path) -> str:
    """What to do with a file whose name says that it is no table that is read, in words."""
    ending = path.suffix.lower()
    if ending in (".xlsx", ".xls", ".ods", ".numbers"):
        return "it is a spreadsheet; save the sheet as .csv"
    if ending in (".zip", ".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz", ".zst", ".lz4"):
        return "it is packed; unpack it (.gz can stay)"
    return "expected .csv, .tsv, .txt or .jsonl (gz or not), .parquet or a folder of its parts"


def check_text(path: Path) -> None:
    """Refuse a text file, gzipped or not, that polars would misread without an error.

    Raises:
        DataError: it is UTF-16, or binary, or its lines end as on old Macs; it cannot be unpacked.
    """
    is_packed = path.suffix.lower() == ".gz"
    try:
        with as_data_error(path), gzip.open(path) if is_packed else path.open("rb") as file:
            head = file.read(1 << 16)
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); download or export it again") from None
    for start, kind, advice in _PACKED:
        if head.startswith(start):
            raise DataError(f"{path} is {kind}, whatever its name says; {advice}")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16; convert it to UTF-8")
    if b"\0" in head:
        raise DataError(f"{path} has NUL bytes (UTF-16, or no text); convert it to UTF-8")
    if b"\r" in head and b"\n" not in head:
        raise DataError(rf"{path} has lines that end in \r alone; save it with \n at their ends")


def _reason(path: Path, said: str, separator: str) -> str:
    """What is wrong with a CSV file and what to do, in words.

    Args:
        path: of the file, gzipped or not.
        said: what the reader says.
        separator: between two fields.

    Raises:
        OSError: it cannot be opened.
    """
    if "utf-8" in said.lower():
        return "is not UTF-8: convert it to UTF-8"
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as raw:
        file = io.TextIOWrapper(raw, "utf-8-sig", "replace", newline="")
        if "more fields" not in said and (number := _inner_quote(file, separator)):
            return f"has a quote within a field in line {number}; {_QUOTE_IT}"
        file.seek(0)
        rows = csv.reader(file, delimiter=separator)
        width = 0
        for row in rows:
            if width and len(row) > width:
                return (
                    f"has {len(row)} fields in line {rows.line_num}, its header has {width}; "
                    f"{_QUOTE_IT}"
                )
            width = width or (len(row) if any(f.strip() for f in row) else 0)
    return f"cannot be read ({said}); repair it or export it again"


def _inner_quote(lines: io.TextIOWrapper, separator: str) -> int:
    """The first line with a quote inside a field, from 1; 0 where there is none."""
    s = re.escape(separator)
    whole = re.compile(rf'(?:^|(?<={s}))"(?:[^"]|"")*"(?=\s*(?:{s}|$))')
    opens, closes = re.compile(rf'(?:^|{s})"'), re.compile(rf'(?:^|[^"])"(?={s}|\s*$)')
    is_open = False
    for number, line in enumerate(lines, start=1):
        rest = whole.sub("", line.rstrip("\r\n"))
        if is_open:
            is_open = not closes.search(rest)
        elif '"' in rest:
            if not opens.search(rest) or rest.count('"') > 1:
                return number
            is_open = True
    return 0
