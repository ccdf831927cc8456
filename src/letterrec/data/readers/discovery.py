"""Which reader a source is for: by the names of its files, then by what is in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from letterrec.data.dataset import Dataset
from letterrec.data.readers import amazon, letter, plain, published, recbole, yelp
from letterrec.data.readers.base import Reader, ReadOptions, files_of
from letterrec.data.readers.columns import listed
from letterrec.data.readers.malformed import not_a_table
from letterrec.data.readers.table_files import kind_of, open_table
from letterrec.errors import DataError

# Every format but the word 'ml-100k'. To add one, write its module and name its reader here.
READERS: tuple[Reader, ...] = (
    letter.READER,
    plain.READER,
    recbole.READER,
    *published.READERS,
    *amazon.READERS,
    yelp.READER,
)
KNOWN = (
    "LETTER (NAME.inter.json), tables (interactions.parquet, .csv, .tsv or .jsonl, or any table "
    "with columns user, item and timestamp), RecBole (NAME.inter), Amazon or Yelp reviews (JSON "
    "lines), a publication that docs/DATA.md lists, or 'ml-100k'"
)
_TOLD = 3  # tables whose columns an error lists
_PACKED = (".zip", ".7z", ".rar", ".tar", ".tgz")


def discover(path: Path, options: ReadOptions) -> Reader:
    """The reader of a folder or file: one that recognises it, or else that of tables.

    Raises:
        DataError: it is of no known format, or of several.
        OSError: it cannot be opened.
    """
    found = [r for r in READERS if not r.by_content and r.recognises(path)]
    if len(found) > 1 and path.is_dir():
        raise DataError(
            f"{path} holds files of several formats ({', '.join(r.name for r in found)}); "
            "give a folder with one of them, or the file itself"
        )
    reader = found[0] if found else _by_content(path)
    return reader or (_table(path) if path.is_file() else _only_table(path, options))


def _by_content(path: Path) -> Reader | None:
    """The reader of the first file, by name, that one recognises by what is in it.

    Raises:
        DataError: none is recognised, and one of the files cannot be read.
    """
    failure: DataError | None = None
    for file in files_of(path):
        try:
            for reader in READERS:
                if reader.by_content and reader.recognises(file):
                    return reader
        except DataError as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return None


def _table(path: Path) -> Reader:
    """The reader of a file that no other reader recognises."""
    if path.suffix.lower() in _PACKED or ".tar." in path.name:
        raise DataError(f"{path} is packed; unpack it and give what was in it")
    if kind_of(path) is None:
        raise DataError(f"{path} is of no known format; expected {KNOWN}")
    return plain.READER


def _only_table(path: Path, options: ReadOptions) -> Reader:
    """The reader of a folder for its only table that can be a log, or for parts of one table."""
    if path.name.lower().endswith((".parquet", ".pq")) and kind_of(path):
        return plain.READER
    inside = sorted(path.iterdir())
    logs = [p for p in inside if kind_of(p) and plain.is_log(p, options)]
    if len(logs) == 1:
        return _at(logs[0])
    if logs and all(kind_of(p) == "parquet" and p.is_file() for p in logs) and _are_parts(logs):
        return plain.READER
    if logs:
        raise DataError(
            f"{path} holds {len(logs)} tables of users and items "
            f"({', '.join(p.name for p in logs)}); give one of these files as the source"
        )
    odd = [p for p in inside if p.is_file() and p.name.lower().startswith("interactions.")]
    if len(odd) == 1 and not kind_of(odd[0]):
        raise DataError(f"{odd[0]} is not read: {not_a_table(odd[0])}")
    names = [p.name + ("/" if p.is_dir() else "") for p in inside]
    holds = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise DataError(
        f"{path} holds {holds or 'no files'}, of no known format; expected {KNOWN}; "
        f"{_columns_of(inside)}where one of them is a table of interactions, give that file, and "
        "--columns user=...,item=...,timestamp=... where its columns have other names"
    )


def _at(log: Path) -> Reader:
    """The reader of a folder that reads one table in it, and says which."""

    def read(_folder: Path, options: ReadOptions) -> Dataset:
        dataset = plain.READER.read(log, options)
        note = f"{log.name} is the only table of users and items here: read"
        return replace(dataset, warnings=(note, *dataset.warnings))

    return replace(plain.READER, read=read)


def _columns_of(inside: list[Path]) -> str:
    """What the columns of the first tables are called, for a message."""
    said: list[str] = []
    for path in filter(kind_of, inside):
        try:
            found = open_table(path, notes=[]).names()
        except DataError:
            continue
        if len(found) > 1 and len(said) < _TOLD:
            said.append(f"{path.name} has the columns {listed(found)}; ")
    return "".join(said)


def _are_parts(files: list[Path]) -> bool:
    """Whether names say that files are parts of one table, as ``part-0001.parquet`` does."""
    return all(p.name.lower().startswith(("part", "data_")) or p.stem.isdigit() for p in files)
