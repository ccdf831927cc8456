"""JSON lines, gzipped or not, as blocks of columns or one by one, with errors that name the line.

A file may be larger than memory.
"""

from __future__ import annotations

import ast
import gzip
import io
import json
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import polars as pl

from letterrec.data.ids import checked_id
from letterrec.errors import DataError

_BLOCK = 1 << 25  # bytes of text that are parsed at a time
_LONG_FLOAT = re.compile(rb":\s*-?(?:[0-9.]+[eE]|[0-9]{16,}\.)")


def is_json_lines(path: Path) -> bool:
    """Whether the name of a file says that it may hold JSON lines."""
    return path.name.endswith((".json", ".jsonl", ".json.gz", ".jsonl.gz"))


def frames(path: Path, *, ids: Sequence[str], others: Sequence[str] = ()) -> Iterator[pl.DataFrame]:
    """The file in blocks of rows, with these top-level keys as text columns.

    Args:
        path: of the file.
        ids: keys whose values are external ids.
        others: further keys.

    A number becomes its text; a key that a line lacks, null and NaN become null.

    Raises:
        DataError: a line is no JSON object, or the file is not UTF-8, or a gz is cut off; an id
            is true or false, a list or an object, or a float that may have lost digits.
    """
    schema = dict.fromkeys([*ids, *others], pl.String())
    for first_line, block in _blocks(path):
        try:
            frame = pl.read_ndjson(io.BytesIO(block), schema=schema)
            if not _is_doubtful(frame.select(ids), block):
                yield frame
                continue
        except pl.exceptions.PolarsError:  # find the line, or accept what only Python reads
            pass
        texts: dict[str, list[str | None]] = {key: [] for key in schema}
        for number, line in _records(path, first_line, block.split(b"\n")):
            for key, column in texts.items():
                column.append(_text_of(line.get(key), key in ids, f"{path}: line {number}"))
        yield pl.DataFrame(texts, schema=schema)


def _is_doubtful(ids: pl.DataFrame, block: bytes) -> bool:
    """Whether an id may not be what the file has: Polars does not tell true from "true", -0.0 from
    "-0", 1e16 from its digits, or a list from its text.
    """
    text = pl.all()
    other = (text.is_in(["true", "false", "-0"]) | text.str.contains(r"^[\[{]")).any()
    long = text.str.contains(r"^-?[0-9]{16,}$").any()
    if any(ids.select(other).row(0)):
        return True
    return any(ids.select(long).row(0)) and bool(_LONG_FLOAT.search(block))


def _text_of(value: object, is_id: bool, where: str) -> str | None:
    """A value as Polars would give it.

    Raises:
        DataError: it is to be an id and cannot be one.
    """
    if value is None or value != value:  # NaN
        return None
    if is_id:
        checked_id(value, where)
    return str(value)


def first_record(path: Path) -> dict[str, object]:
    """The first object of the file, and nothing after it is read; empty if there is none.

    Raises:
        DataError: as `frames`.
    """
    for first_line, block in _blocks(path, size=1):
        for _, line in _records(path, first_line, block.split(b"\n")):
            return line
    return {}


def holds_keys(keys: Collection[str], path: Path) -> bool:
    """Whether a file is of JSON lines whose first object has all these keys.

    Raises:
        DataError: it cannot be read.
    """
    return is_json_lines(path) and first_record(path).keys() >= set(keys)


def records(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """The file's objects, each with the number of its line, from 1.

    Raises:
        DataError: as `frames`.
    """
    for first_line, block in _blocks(path):
        yield from _records(path, first_line, block.split(b"\n"))


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, each with its number, from 1."""
    for first_line, block in _blocks(path):
        for i, line in enumerate(block.split(b"\n")):
            if line.strip():
                yield first_line + i, line


def parse(path: Path, number: int, line: bytes) -> dict[str, object]:
    """One line: a JSON object, or the Python literal that Amazon's 2014 metadata has instead.

    Raises:
        DataError: it is neither.
    """
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: line {number} is not UTF-8 ({error.reason} at byte {error.start}); "
            "convert the file to UTF-8"
        ) from None
    if number == 1 and text.lstrip().startswith("["):
        raise DataError(
            f"{path}: line {number} begins a JSON array; expected JSON lines, one object per line, "
            "{...}, with neither brackets around them nor commas between"
        )
    try:
        value = json.loads(text)
    except (RecursionError, ValueError) as error:
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise DataError(
                f"{path}: line {number} is no JSON object ({why_no_json(error)}); "
                "expected one object per line"
            ) from None
    if not isinstance(value, dict):
        raise DataError(
            f"{path}: line {number} holds a {type(value).__name__}; expected an object, {{...}}"
        )
    return value


def why_no_json(error: RecursionError | ValueError) -> str:
    """What is wrong with a text that `json` does not read, in words."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    if isinstance(error, RecursionError):
        return "lists or objects nested too deeply"
    return "a whole number of thousands of digits"


def _records(
    path: Path, first_line: int, lines: Sequence[bytes]
) -> Iterator[tuple[int, dict[str, object]]]:
    for number, line in enumerate(lines, first_line):
        if line.strip():
            yield number, parse(path, number, line)


def _blocks(path: Path, size: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Whole lines, about ``size`` bytes at a time, with the number of the first."""
    size = size or _BLOCK
    number = 1
    with _open(path) as file:
        while True:
            try:
                block = file.read(size)
                block += file.readline() if block else b""
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise DataError(
                    f"{path} is cut off or damaged after line {number - 1} ({error}); "
                    "download it again"
                ) from None
            if not block:
                return
            yield number, block
            number += block.count(b"\n")


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")
