"""Why a text file is no table: the line, for the error, after the reader has given up on it."""

from __future__ import annotations

import csv
import gzip
import io
import re
from pathlib import Path

_QUOTE_IT = 'put fields with a separator or a quote in quotes, each quote within doubled ("")'


def reason_of(path: Path, said: str, separator: str) -> str:
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
