"""Data sources become a `Dataset`: `read` is the entry, and the same for every format.

The formats are told apart by `readers.discovery`, and each is read by a module of its own in
`readers`. Only this room knows external ids; every later step knows rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path

from letterrec.config.settings import Order
from letterrec.data.dataset import Dataset
from letterrec.data.readers.base import ReadOptions
from letterrec.data.readers.frames import Frame, Frames
from letterrec.data.readers.frames import read as read_frames
from letterrec.data.sequences import Histories
from letterrec.data.splits import HeldOut, Split
from letterrec.errors import DataError

__all__ = [
    "Dataset",
    "Frame",
    "Frames",
    "HeldOut",
    "Histories",
    "Split",
    "as_frames",
    "check_source",
    "find_sources",
    "read",
]

_PUBLISHED = "ml-100k"  # the source that is fetched, unless something of that name is there


def read(
    source: str | PathLike[str] | Frame | Frames,
    *,
    items: Frame | None = None,
    k_core: int | None = None,
    min_rating: float | None = None,
    grades: Mapping[str, float] | None = None,
    order: Order = "time",
    columns: Mapping[str, str] | None = None,
    cache: str | PathLike[str] | None = None,
) -> Dataset:
    """Read a data source of any known format; `docs/DATA.md` shows each by example.

    Args:
        source: a folder, a file, or ``"ml-100k"`` (fetched once, then cached; a folder or file of
            that name is read instead); or a polars or pandas DataFrame, an interaction a row.
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

    Raises:
        DataError: the source is missing, its format is unknown, or its content cannot be used.
    """
    from letterrec.data.readers.discovery import discover

    told = {} if columns is None else columns
    options = ReadOptions(k_core, min_rating, order, told, {} if grades is None else grades)
    if cache is not None and not isinstance(cache, str | PathLike):
        raise DataError(f"cache is {cache!r}; expected the path of a folder, or None")
    if (frames := as_frames(source, items)) is not None:
        return read_frames(frames, options)
    check_source(source)
    assert isinstance(source, str | PathLike)
    path = Path(source)
    if str(source) == _PUBLISHED and not path.exists():
        from letterrec.data.readers import movielens

        return movielens.read(options, cache=None if cache is None else Path(cache))
    try:
        reader = discover(path, options)
    except OSError as error:
        raise DataError(f"{path} cannot be opened ({error.strerror or error})") from None
    dataset = reader.read(path, options)
    if str(source) == _PUBLISHED:
        note = f"./{_PUBLISHED} is read; rename it to have MovieLens-100k fetched"
        return replace(dataset, warnings=(note, *dataset.warnings))
    return dataset


def as_frames(source: object, items: object = None) -> Frames | None:
    """A log in memory and its catalogue, as a caller gave them; None where the source is none.

    Raises:
        DataError: ``items`` is no DataFrame, or came with a source that is none.
    """
    return source if isinstance(source, Frames) else Frames.of(source, items)


def check_source(source: object) -> None:
    """Refuse a source that is no path, or a path at which there is nothing.

    Raises:
        DataError: nothing is there, or it is no path.
    """
    if isinstance(source, str | PathLike) and str(source):
        if str(source) != _PUBLISHED:
            _refuse_missing(Path(source))
        return
    if isinstance(source, Dataset):
        raise DataError(f"{source!r} is read already; give it to letterrec.fit as it is")
    module, name = type(source).__module__.partition(".")[0], type(source).__name__
    kind = name if module == "builtins" else f"{module}.{name}"
    given = repr(source) if source is None or isinstance(source, str) else f"a {kind}"
    raise DataError(
        f"source is {given}; expected the path of a folder or file, a polars or pandas DataFrame, "
        "or a Dataset from letterrec.read"
    )


def _refuse_missing(path: Path) -> None:
    from letterrec.data.readers.discovery import KNOWN

    try:
        there = path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        shown = str(path) if len(str(path)) <= 120 else f"{str(path)[:60]}..."
        raise DataError(f"{shown} cannot be opened ({error.strerror or error})") from None
    if not there:
        raise DataError(f"{path} does not exist; expected a folder or file of {KNOWN}")


def find_sources(folder: str | Path) -> dict[str, str]:
    """The data sources in a folder of data sets, by name; or the one source that it is itself.

    Args:
        folder: a source that `read` takes, or a folder with such sources directly inside.

    Raises:
        DataError: there are none.
    """
    from letterrec.data.readers.discovery import discover

    path = Path(folder)
    if str(folder) == _PUBLISHED and not path.exists():
        return {_PUBLISHED: _PUBLISHED}
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
