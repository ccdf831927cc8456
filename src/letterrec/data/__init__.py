"""Data sources become a `Dataset`: `read` is the entry, and the same for every format.

The formats are told apart by `readers.discovery`, and each is read by a module of its own in
`readers`. Only this room knows external ids; every later step knows rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from letterrec.config.keywords import Order
from letterrec.data.dataset import Dataset
from letterrec.data.domains import combined
from letterrec.data.readers.base import ReadOptions
from letterrec.data.readers.frames import Frame, Frames
from letterrec.data.reading import read_one
from letterrec.data.sequences import Histories
from letterrec.data.sources import (
    PUBLISHED,
    AnySource,
    Sources,
    as_frames,
    check_source,
    sources_of,
)
from letterrec.data.splits import HeldOut, Split
from letterrec.errors import DataError

__all__ = [
    "AnySource",
    "Dataset",
    "Frame",
    "Frames",
    "HeldOut",
    "Histories",
    "Sources",
    "Split",
    "as_frames",
    "check_source",
    "find_sources",
    "read",
    "sources_of",
]


def read(
    source: AnySource | Frame | Frames,
    *,
    items: Frame | None = None,
    k_core: int | None = None,
    min_rating: float | None = None,
    grades: Mapping[str, float] | None = None,
    order: Order = "time",
    columns: Mapping[str, str] | None = None,
    cache: str | PathLike[str] | None = None,
    join_users: bool = False,
) -> Dataset:
    """Read a data source of any known format; `docs/DATA.md` shows each by example.

    Args:
        source: a folder, a file, or ``"ml-100k"`` (fetched once, then cached; a folder or file of
            that name is read instead); or a polars or pandas DataFrame, an interaction a row.
            Several in a list, or in a dict by name, become one data set, of which each is a domain;
            see `docs/DOMAINS.md`.
        items: the catalogue beside a DataFrame, an item a row; folders bring their own.
        k_core: drop users and items with fewer interactions, repeatedly; 0 drops none. None
            means 5 for interaction logs and 0 for folders in LETTER's layout, which are already
            prepared.
        min_rating: drop interactions with a lower rating, or none, before anything else.
        grades: cuts ratings into behaviours: the name of each grade and its lowest rating. Without,
            a column of behaviours is read where there is one.
        order: ``"time"``; or ``"rows"``, where the rows are in the order of time already.
        columns: what the columns of the source are called: some of ``user``, ``item``,
            ``timestamp``, ``rating``, ``behaviour``, ``title`` -> the column.
        cache: where fetched data is kept; None means the environment variable
            ``LETTERREC_CACHE``, or else the user's cache folder.
        join_users: whether users of several sources whose ids agree are one person.

    Raises:
        DataError: the source is missing, its format is unknown, or its content cannot be used.
    """
    told = {} if columns is None else columns
    options = ReadOptions(k_core, min_rating, order, told, {} if grades is None else grades)
    if cache is not None and not isinstance(cache, str | PathLike):
        raise DataError(f"cache is {cache!r}; expected the path of a folder, or None")
    kept = None if cache is None else Path(cache)
    if isinstance(source, Dataset):
        check_source(source)
    given = sources_of(as_frames(source, items) or source)
    if isinstance(given, Sources):
        parts = {
            name: part if isinstance(part, Dataset) else read_one(part, options, kept)
            for name, part in given.named.items()
        }
        return combined(parts, join_users=join_users)
    return given if isinstance(given, Dataset) else read_one(given, options, kept)


def find_sources(folder: str | Path) -> dict[str, str]:
    """The data sources in a folder of data sets, by name; or the one source that it is itself.

    Args:
        folder: a source that `read` takes, or a folder with such sources directly inside.

    Raises:
        DataError: there are none.
    """
    from letterrec.data.readers.discovery import discover

    path = Path(folder)
    if str(folder) == PUBLISHED and not path.exists():
        return {PUBLISHED: PUBLISHED}
    try:
        discover(path, ReadOptions())
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
    from letterrec.data.readers.discovery import discover

    try:
        return bool(discover(path, ReadOptions()))
    except (DataError, OSError):
        return False
