"""Which reader a source is for: by the names of its files, then by what is in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from letterrec.data.dataset import Dataset
from letterrec.data.readers import amazon, letter, published, recbole, tables, yelp
from letterrec.data.readers.columns import listed
from letterrec.data.readers.files import kind_of, open_table, plain_name
from letterrec.data.readers.jsonlines import is_json_lines, records
from letterrec.data.readers.options import ReadOptions
from letterrec.errors import DataError

KNOWN = (
    "LETTER (NAME.inter.json), tables (interactions.parquet, .csv, .tsv or .jsonl, or any table "
    "with columns user, item and timestamp), RecBole (NAME.inter), Amazon or Yelp reviews (JSON "
    "lines), a publication that docs/DATA.md lists, or 'ml-100k'"
)
_TOLD = 3  # tables whose columns an error lists
_AMAZON_2014 = {"reviewerID", "asin", "unixReviewTime"}
_AMAZON_2023 = {"user_id", "parent_asin", "timestamp"}
_YELP = {"user_id", "business_id", "stars", "date"}
# format -> the keys of the first line of a file of reviews that tell it, and its reader
_BY_KEYS = {
    "Amazon 2014 or 2018": (_AMAZON_2014, amazon.read),
    "Amazon 2023": (_AMAZON_2023, amazon.read),
    "Yelp": (_YELP, yelp.read),
}


@dataclass(frozen=True)
class Source:
    """What lies at a path: the format by name, and how to read it."""

    format: str
    read: Callable[[ReadOptions], Dataset]


def discover(path: Path, options: ReadOptions) -> Source:
    """Tell the format of a folder or file.

    Raises:
        DataError: it is of no known format, or of several.
        OSError: it cannot be opened.
    """
    if path.is_file():
        return _of_file(path, options)
    inside = sorted(path.iterdir())
    files = [f for f in inside if f.is_file()]
    found = [
        *([Source("LETTER", _at(path, letter.read))] if _any(files, ".inter.json") else []),
        *([Source("tables", _at(path, tables.read))] if _has_interactions(inside) else []),
        *([Source("RecBole", _at(path, recbole.read))] if _any(files, ".inter") else []),
    ]
    found += [_publication(p) for p in published.find([f for f in files if not _own(f)])]
    if len(found) > 1:
        raise DataError(
            f"{path} holds files of several formats ({', '.join(f.format for f in found)}); "
            "give a folder with one of them, or the file itself"
        )
    if found:
        return found[0]
    return _by_keys(path, files) or _one_table(path, inside, options)


def _of_file(path: Path, options: ReadOptions) -> Source:
    if path.name.endswith(".inter.json"):
        return Source("LETTER", _at(path, letter.read))
    if path.name.endswith(".inter"):
        return Source("RecBole", _at(path, recbole.read))
    if found := published.find([path]):
        return _publication(found[0])
    if source := _by_keys(path, [path]):
        return source
    if path.suffix.lower() in (".zip", ".7z", ".rar", ".tar", ".tgz") or ".tar." in path.name:
        raise DataError(f"{path} is packed; unpack it and give what was in it")
    if kind_of(path) is None:
        raise DataError(f"{path} is of no known format; expected {KNOWN}")
    return Source("table", _at(path, tables.read))


def _at(path: Path, reader: Callable[[Path, ReadOptions], Dataset]) -> Callable[..., Dataset]:
    return lambda options: reader(path, options)


def _publication(found: published.Found) -> Source:
    return Source(found.publication.name, lambda options: published.read(found, options))


def _any(files: list[Path], ending: str) -> bool:
    return any(f.name.endswith(ending) for f in files)


def _own(file: Path) -> bool:
    """Whether a file is one of the tables that are read by their names."""
    return plain_name(file).partition(".")[0] in ("interactions", "items", "users")


def _has_interactions(inside: list[Path]) -> bool:
    return any(plain_name(p).partition(".")[0] == "interactions" and kind_of(p) for p in inside)


def _by_keys(path: Path, files: list[Path]) -> Source | None:
    """The format of a file of reviews, by the keys of its first line; None where none fits."""
    failure: DataError | None = None
    for file in filter(is_json_lines, files):
        try:
            _, first = next(records(file), (0, {}))
        except DataError as error:
            failure = failure or error
            continue
        for name, (keys, reader) in _BY_KEYS.items():
            if keys <= first.keys():
                return Source(name, _at(path, reader))
    if failure is not None:
        raise failure
    return None


def _one_table(path: Path, inside: list[Path], options: ReadOptions) -> Source:
    """The only table of a folder that can be a log, or the folder itself as parts of one."""
    if path.name.lower().endswith((".parquet", ".pq")) and kind_of(path):
        return Source("table", _at(path, tables.read))
    logs = [p for p in inside if kind_of(p) and tables.is_log(p, options)]
    if len(logs) == 1:
        note = f"{logs[0].name} is the only table of users and items here: read"
        return Source("table", lambda options: _noted(tables.read(logs[0], options), note))
    if logs and all(kind_of(p) == "parquet" and p.is_file() for p in logs) and _are_parts(logs):
        return Source("table", _at(path, tables.read))
    if logs:
        raise DataError(
            f"{path} holds {len(logs)} tables of users and items "
            f"({', '.join(p.name for p in logs)}); give one of these files as the source"
        )
    names = [p.name + ("/" if p.is_dir() else "") for p in inside]
    holds = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise DataError(
        f"{path} holds {holds or 'no files'}, of no known format; expected {KNOWN}; "
        f"{_columns_of(inside)}where one of them is a table of interactions, give that file, and "
        "--columns user=...,item=...,timestamp=... where its columns have other names"
    )


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


def _noted(dataset: Dataset, note: str) -> Dataset:
    return replace(dataset, warnings=(note, *dataset.warnings))


def _are_parts(files: list[Path]) -> bool:
    """Whether names say that files are parts of one table, as ``part-0001.parquet`` does."""
    return all(p.name.lower().startswith(("part", "data_")) or p.stem.isdigit() for p in files)
