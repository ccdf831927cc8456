"""Readers: one module per source format; `read` tells the formats apart.

Knows by which files each format is recognised. Leaves parsing to the reader of the format, and
everything after it (k-core, order, rows) to `events`.
"""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from pathlib import Path

from letterrec.data.dataset import Dataset, HeldOut, Histories, Split
from letterrec.errors import DataError

__all__ = ["Dataset", "HeldOut", "Histories", "Split", "check_source", "find_sources", "read"]

# format -> (its reader, the files of a folder that tell it)
_BY_NAME = {
    "LETTER": ("letter", ("*.inter.json",)),
    "tables": (
        "tables",
        ("interactions.parquet", "interactions.csv", "interactions.jsonl"),
    ),
    "RecBole": ("recbole", ("*.inter",)),
}
# format -> (its reader, the keys of the first line of a reviews file that tell it)
_BY_KEYS = {
    "Amazon 2014 or 2018": ("amazon", {"reviewerID", "asin", "unixReviewTime"}),
    "Amazon 2023": ("amazon", {"user_id", "parent_asin", "timestamp"}),
    "Yelp": ("yelp", {"user_id", "business_id", "stars", "date"}),
}
_KNOWN = (
    "LETTER (NAME.inter.json), tables (interactions.parquet, .csv or .jsonl), RecBole "
    "(NAME.inter), Amazon or Yelp reviews (JSON lines, .gz or not), or 'ml-100k'"
)


def read(
    source: str | PathLike[str], *, k_core: int | None = None, cache: Path | None = None
) -> Dataset:
    """Read a data source of any known format; `docs/DATA.md` shows each by example.

    Args:
        source: a folder, a file of reviews, or ``"ml-100k"`` (fetched once, then cached).
        k_core: drop users and items with fewer interactions, repeatedly; 0 drops none. None
            means 5 for interaction logs and 0 for folders in LETTER's layout, which are already
            prepared.
        cache: where fetched data is kept; None means the environment variable
            ``LETTERREC_CACHE``, or else the user's cache folder.

    Raises:
        DataError: the source is missing, its format is unknown, or its content cannot be used.
    """
    check_source(source)
    if k_core is not None and k_core < 0:
        raise DataError(f"k_core is {k_core}; expected 0 (no filtering) or more")
    if str(source) == "ml-100k":
        from letterrec.data import movielens

        return movielens.read(k_core=k_core, cache=cache)
    path = Path(source)
    if not path.exists():
        raise DataError(f"{path} does not exist; expected a folder or file of {_KNOWN}")
    dataset: Dataset = import_module(f"letterrec.data.{_reader_of(path)}").read(path, k_core=k_core)
    return dataset


def check_source(source: object) -> None:
    """Refuse what is no path at all.

    Raises:
        DataError: it is something else, such as a data frame.
    """
    if isinstance(source, str | PathLike) and str(source):
        return
    if isinstance(source, Dataset):
        raise DataError(f"{source!r} is read already; give it to letterrec.fit as it is")
    module, name = type(source).__module__.partition(".")[0], type(source).__name__
    kind = name if module == "builtins" else f"{module}.{name}"
    given = repr(source) if source is None or isinstance(source, str) else f"a {kind}"
    frame = "; write the table to FOLDER/interactions.parquet and give FOLDER"
    raise DataError(
        f"source is {given}; expected the path of a folder or file, or a Dataset from "
        f"letterrec.read{frame if hasattr(source, 'columns') else ''}"
    )


def find_sources(folder: str | Path) -> dict[str, str]:
    """The data sources in a folder of data sets, by name; or the one source that it is itself.

    Args:
        folder: a source that `read` takes, or a folder with such sources directly inside.

    Raises:
        DataError: there are none.
    """
    path = Path(folder)
    if str(folder) == "ml-100k":
        return {"ml-100k": "ml-100k"}
    try:
        _reader_of(path)
        return {path.resolve().name: str(path)}
    except DataError as error:
        problem = error
    except OSError:
        raise DataError(f"{path} does not exist; expected a folder of data sets, or one") from None
    inside = sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    found = {p.name: str(p) for p in inside if _is_source(p)}
    if not found:
        raise problem
    return found


def _is_source(path: Path) -> bool:
    try:
        return bool(_reader_of(path))
    except DataError:
        return False


def _reader_of(path: Path) -> str:
    """The module that reads what lies at ``path``."""
    if path.is_file():
        for name, (_, patterns) in _BY_NAME.items():
            if any(path.match(p) for p in patterns):
                raise DataError(f"{path} is one file of the {name} format; give its folder instead")
        files = [path]
    else:
        files = sorted(f for f in path.iterdir() if f.is_file())
        named = {
            name: module
            for name, (module, patterns) in _BY_NAME.items()
            if any(f.match(p) for f in files for p in patterns)
        }
        if len(named) > 1:
            raise DataError(
                f"{path} holds files of several formats ({', '.join(named)}); "
                "give a folder with one of them"
            )
        if named:
            return next(iter(named.values()))
    return _reader_by_keys(path, files)


def _reader_by_keys(path: Path, files: list[Path]) -> str:
    """The module that reads a file of reviews, by the keys of its first line."""
    from letterrec.data.jsonlines import is_json_lines, records

    failure: DataError | None = None
    for file in filter(is_json_lines, files):
        try:
            _, first = next(records(file), (0, {}))
        except DataError as error:
            failure = failure or error
            continue
        for module, keys in _BY_KEYS.values():
            if keys <= first.keys():
                return module
        if path.is_file():
            found = ", ".join(first) or "an empty file"
            wanted = "; ".join(f"{n}: {', '.join(sorted(k))}" for n, (_, k) in _BY_KEYS.items())
            raise DataError(f"{path}: its first line has {found}; expected the keys of {wanted}")
    if failure is not None:
        raise failure
    if path.is_file():
        raise DataError(f"{path} is of no known format; expected {_KNOWN}")
    names = [f.name for f in files]
    holds = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise DataError(f"{path} holds {holds or 'no files'}, of no known format; expected {_KNOWN}")
