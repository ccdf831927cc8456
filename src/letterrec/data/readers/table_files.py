"""Files that hold tables: CSV of any separator, Parquet (one file or parts), JSON lines; gz or not.

Paths are literal: brackets and stars in them are no patterns. `columns` finds the roles of columns.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import polars as pl

from letterrec.data.readers.jsonlines import records
from letterrec.data.readers.malformed import as_data_error, check_text
from letterrec.errors import DataError, quoted

Kind = Literal["csv", "parquet", "jsonl"]
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("csv", "tsv", "tab", "txt", "dat"), "csv"),
    **dict.fromkeys(("parquet", "pq"), "parquet"),
    **dict.fromkeys(("jsonl", "ndjson", "json"), "jsonl"),
}
_SEPARATORS = {"::": "'::'", "\t": "a tab", ";": "';'", "|": "'|'", ",": "','"}
_SAMPLE = 1 << 16  # bytes that tell the separator and the header
_KEYS_OF = 1000  # JSON lines whose keys are looked at before all are
_VALUE = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?|\d{4}-\d\d-\d\d([ T].*)?")
_QUOTED = re.compile(r'(?:^|(?<=\t))"(?:[^"]|"")*"(?=\t|$)')  # whole fields between tabs
_SEP = re.compile(r'"?sep=(?:.|\\t)?"?,*', re.I)  # what spreadsheets write for one another
_OPEN = re.compile(r'(?:^|\t)"')
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_PART = "\x1fpart"  # column of the paths of parts, on the way
_INNER = "\x1f"  # stands for a separator of two characters


@dataclass(frozen=True)
class Dialect:
    """How the lines of a text file become rows.

    Attributes:
        separator: between two fields.
        header: names of the columns, for a file without a header row.
        quote: around fields that contain the separator; None where quotes are text.
        backslash: a backslash stands before a quote that is part of a field.
        latin1: bytes that are no UTF-8 are Latin-1.
        skip: lines before the first row that are neither header nor rows.
    """

    separator: str = ","
    header: tuple[str, ...] = ()
    quote: str | None = '"'
    backslash: bool = False
    latin1: bool = False
    skip: int = 0


@dataclass(frozen=True)
class TableFile:
    """A table, on disk or in memory.

    Attributes:
        path: its file, or the folder of its parts.
        kind: what the files are.
        parts: the files, in the order of their rows.
        dialect: of text files.
        frame: the table itself, where it is in memory: ``path`` is what messages call it then.
    """

    path: Path
    kind: Kind
    parts: tuple[Path, ...]
    dialect: Dialect = field(default_factory=Dialect)
    frame: pl.LazyFrame | None = None

    @property
    def separator(self) -> str:
        """Between the fields of a CSV file with quotes, for errors; else ``""``."""
        one = self.kind == "csv" and len(self.dialect.separator) == 1
        return self.dialect.separator if one and self.dialect.quote else ""

    def scan(self) -> pl.LazyFrame:
        """The table, lazily. Columns of a CSV are text: ids such as 007 keep their zeros.

        Raises:
            DataError: a file is missing, or is something else than its name says.
        """
        if self.frame is not None:
            return self.frame
        if self.kind == "parquet":
            return self._of_parts
        dialect = self.dialect
        plain = len(dialect.separator) == 1 and not dialect.latin1 and not dialect.backslash
        sources: list[Path] | list[bytes] = (
            list(self.parts) if plain else [_plain_bytes(p, dialect) for p in self.parts]
        )
        schema = dict.fromkeys(dialect.header, pl.String()) if dialect.header else None
        return pl.scan_csv(
            sources,
            separator=dialect.separator if len(dialect.separator) == 1 else _INNER,
            quote_char=dialect.quote,
            has_header=not dialect.header,
            schema=schema,
            skip_lines=dialect.skip,
            infer_schema=False,
            glob=False,
            missing_columns="insert" if schema else "raise",  # of a first row that is too short
        )

    @cached_property
    def _of_parts(self) -> pl.LazyFrame:
        """What `scan` gives of Parquet: to know the columns, every part is opened, once."""
        return _scan_parts(self)

    def names(self, *, of_all: bool = False) -> list[str]:
        """The columns; of JSON lines, the keys of the first lines or ``of_all``."""
        if self.kind != "jsonl":
            with as_data_error(self.path, self.separator):
                columns = self.scan().collect_schema().names()
            if twice := [c for c in columns if f"{c}_duplicated_0" in columns]:  # polars' name
                raise DataError(
                    f"{self.path} has two columns {twice[0]!r}; expected each name once"
                )
            return columns
        lines = (record for part in self.parts for _, record in records(part))
        names: dict[str, None] = {}
        seen = False
        for record in lines if of_all else islice(lines, _KEYS_OF):
            seen = True
            names.update(dict.fromkeys(record))
        if not seen:
            raise DataError(f"{self.path} is empty; expected one JSON object per line")
        return list(names)

    def rows(self, columns: Collection[str] | None = None) -> Iterator[dict[str, object]]:
        """The rows; of CSV and Parquet with these columns alone."""
        if self.kind == "jsonl":
            return (record for part in self.parts for _, record in records(part))
        with as_data_error(self.path, self.separator):
            frame = self.scan() if columns is None else self.scan().select(list(columns))
            return frame.collect().iter_rows(named=True)


def kind_of(path: Path) -> Kind | None:
    """The kind of a file by its name; of a folder, by its parts."""
    if path.is_dir():
        return "parquet" if _parts(path) else None
    return _KINDS.get(plain_name(path).rpartition(".")[2])


def plain_name(path: Path) -> str:
    """The name of a file in lower case, without ``.gz``."""
    return path.name.lower().removesuffix(".gz")


def open_table(path: Path, *, notes: list[str], told: Collection[str] = ()) -> TableFile:
    """Open a table, with the separator that its header shows.

    Args:
        path: a file, or a folder of Parquet parts.
        notes: gets a line where the separator is another than the name says.
        told: columns that the caller has named: these are in the header.

    Raises:
        DataError: the kind of file is unknown; a text file has no header row.
    """
    kind = kind_of(path)
    if kind is None:
        raise DataError(
            f"{path} is no table; expected .csv, .tsv, .txt or .jsonl (gz or not), .parquet or a "
            "folder of its parts"
        )
    if kind != "csv":
        return TableFile(path, kind, tuple(_parts(path)) if path.is_dir() else (path,))
    check_text(path)
    lines = first_lines(path)
    if not lines:
        raise DataError(f"{path} is empty; expected a header and rows")
    skip = _lines_before_header(path, lines)
    lines = lines[skip:]
    separator = _separator_of(lines[0])
    fields = split(lines[0], separator)
    if any(_VALUE.fullmatch(f.strip()) for f in fields) and not set(told) & set(fields):
        raise DataError(
            f"{path} has no header row: its first line is {quoted(lines[0], 80)}, separated by "
            f"{_SEPARATORS[separator]}; put the names of the columns before it, as in "
            f"{separator.join(('user', 'item', 'timestamp'))!r}"
        )
    usual = "\t" if plain_name(path).endswith((".tsv", ".tab")) else ","
    if separator != usual and len(fields) > 1:
        notes.append(f"{path.name}: fields are separated by {_SEPARATORS[separator]}")
    quote = _quote_of(lines, separator)
    backslash = quote is not None and any(_escaped(separator).search(line) for line in lines)
    return TableFile(path, kind, (path,), Dialect(separator, (), quote, backslash, skip=skip))


def _lines_before_header(path: Path, lines: list[str]) -> int:
    """How many lines are blank, or the ``sep=;`` of spreadsheets, before the header.

    Raises:
        DataError: there is nothing else, or a comment.
    """
    skip = 0
    while skip < len(lines) and (not lines[skip].strip() or _SEP.fullmatch(lines[skip].strip())):
        skip += 1
    if skip == len(lines):
        raise DataError(f"{path} is empty; expected a header and rows")
    header, rows = lines[skip], lines[skip + 1 : skip + 2]
    if header.startswith("#") and rows and _width(header) < _width(rows[0]):
        raise DataError(
            f"{path} begins with the comment {quoted(header, 80)} (line {skip + 1}); expected the "
            "names of the columns: take such lines away"
        )
    return skip


def _width(line: str) -> int:
    return len(split(line, _separator_of(line)))


def _escaped(separator: str) -> re.Pattern[str]:
    """A quote after a backslash, unless it ends the field."""
    return re.compile(rf'\\"(?!"|{re.escape(separator)}|$)')


def first_lines(path: Path) -> list[str]:
    """The whole lines in the first 64 KB of a text file, gzipped or not.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            data = file.read(_SAMPLE)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path} cannot be read ({error}); download or export it again") from None
    lines = data.decode("utf-8-sig", "replace").splitlines()
    return lines[:-1] if len(data) == _SAMPLE and len(lines) > 1 else lines


def split(line: str, separator: str, quote: str | None = '"') -> list[str]:
    """The fields of one line."""
    if len(separator) > 1 or quote is None:
        return line.split(separator)
    return next(csv.reader([line], delimiter=separator, quotechar=quote), [])


def hive_keys(table: TableFile) -> list[str]:
    """The columns that the folders inside a table's own folder name, as in ``day=2020-01-31``."""
    if table.frame is not None or not table.path.is_dir():
        return []
    return list(dict.fromkeys(key for part in table.parts for key in _hive_values(table, part)))


def _hive_values(table: TableFile, part: Path) -> dict[str, str | None]:
    """What the folders of a part say: names of the folders above the table's say nothing."""
    folders = part.relative_to(table.path).parts[:-1]
    pairs = (unquote(folder).split("=", 1) for folder in folders if "=" in folder)
    return {key: None if value == _NO_VALUE else value for key, value in pairs}


def _scan_parts(table: TableFile) -> pl.LazyFrame:
    """The rows of Parquet parts; a part may lack columns that others have, and add some."""
    schemas = [
        pl.scan_parquet(part, glob=False, hive_partitioning=False).collect_schema()
        for part in table.parts
    ]
    empty = pl.concat([pl.DataFrame(schema=s) for s in schemas], how="diagonal_relaxed")
    keys = hive_keys(table)
    frame = pl.scan_parquet(
        list(table.parts),
        glob=False,
        hive_partitioning=False,
        schema=empty.schema,
        missing_columns="insert",
        cast_options=pl.ScanCastOptions(integer_cast="upcast", float_cast="upcast"),
        include_file_paths=_PART if keys else None,
    )
    if not keys:
        return frame
    values = {str(part): _hive_values(table, part) for part in table.parts}
    named = {
        key: pl.col(_PART).replace_strict(
            {part: said.get(key) for part, said in values.items()}, return_dtype=pl.String
        )
        for key in keys
    }
    return frame.with_columns(**named).drop(_PART)


def _separator_of(header: str) -> str:
    """What splits the header into the most fields; a comma where nothing does."""
    counts = {s: len(split(header, s)) for s in _SEPARATORS}
    return max(reversed(counts), key=lambda s: counts[s])


def _quote_of(lines: list[str], separator: str) -> str | None:
    """In tab-separated text quotes are text, unless they stand around whole fields."""
    if separator != "\t":
        return None if len(separator) > 1 else '"'
    without = [_QUOTED.sub("", line) for line in lines]
    return '"' if without != lines and not any(_OPEN.search(w) for w in without) else None


def _parts(folder: Path) -> list[Path]:
    """The Parquet files inside, in the order of their names, ``part-9`` before ``part-10``."""
    found = [
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in (".parquet", ".pq")
        and p.is_file()
        and not any(q.startswith((".", "_")) for q in p.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda p: [int(t) if t.isdigit() else t for t in _pieces(p)])


def _pieces(path: Path) -> list[str]:
    return re.split(r"(\d+)", str(path))


def _plain_bytes(path: Path, dialect: Dialect) -> bytes:
    """The file in UTF-8, with a separator of one character and quotes doubled."""
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        data = file.read()
    if dialect.latin1:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            data = data.decode("latin-1").encode()
    if dialect.backslash:
        data = re.sub(rb"\\(.)", lambda m: b'""' if m[1] == b'"' else m[1], data)
    if len(dialect.separator) > 1:
        data = data.replace(dialect.separator.encode(), _INNER.encode())
    return data
