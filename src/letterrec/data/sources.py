"""What may be given as a data source: one, or several, of which each becomes a domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from letterrec.data.dataset import Dataset
from letterrec.data.readers.frames import Frame, Frames
from letterrec.errors import DataError, quoted, short

PUBLISHED = "ml-100k"  # the source that is fetched, unless something of that name is there
Source = str | PathLike[str] | Dataset | Frame
AnySource = Source | Sequence[Source] | Mapping[str, Source]


@dataclass(frozen=True, eq=False)
class Sources:
    """Sources that are read as one data set, each of them a domain.

    Attributes:
        named: name of the domain -> a path, or what is read already.
    """

    named: dict[str, str | Dataset | Frames]

    def __str__(self) -> str:
        shown = (s.name if isinstance(s, Dataset) else s for s in self.named.values())
        return ", ".join(f"{name}={s}" for name, s in zip(self.named, shown, strict=True))


def as_frames(source: object, items: object = None) -> Frames | None:
    """A log in memory and its catalogue, as a caller gave them; None where the source is none.

    Raises:
        DataError: ``items`` is no DataFrame, or came with a source that is none.
    """
    return source if isinstance(source, Frames) else Frames.of(source, items)


def sources_of(given: object, *, named: bool = False) -> str | Dataset | Frames | Sources:
    """One source as it is, or several with their names.

    Args:
        given: a path or a `Dataset`; several of them in a list; a dict of them by name. A path may
            bring its name: ``NAME=PATH``. The others are called as their folder or file is.
        named: whether one source that brings no name gets one too, and so becomes a domain.

    Raises:
        DataError: it is neither, there is nothing at a path, or names are missing, taken twice or
            none that an item's id may begin with.
    """
    if isinstance(given, Mapping):
        for called, one in given.items():
            if isinstance(one, list | tuple):
                raise DataError(
                    f"source {str(called)!r} of a dict is a {type(one).__name__}; expected "
                    "sources by name, each a path, a DataFrame or a Dataset; columns come in a "
                    "DataFrame"
                )
        return _all_named([(str(name), source) for name, source in given.items()])
    if isinstance(given, list | tuple):
        parts = [_split(source) for source in given]
        if not parts:
            raise DataError("no source is given; expected the path of a folder or file")
        if len(parts) > 1:
            return _all_named(parts)
        name, source = parts[0]
    else:
        name, source = _split(given)
    if name is not None or named:
        return _all_named([(name, source)])
    return _one_of(source)


def _one_of(source: object) -> str | Dataset | Frames:
    """One source: what is read already, tables in memory, or a path."""
    if isinstance(source, Dataset):
        return source
    return as_frames(source) or _path_of(source)


def _split(source: object) -> tuple[str | None, object]:
    """``NAME=PATH`` as both; a path that is there is one as a whole."""
    if isinstance(source, str) and "=" in source and not _is_there(source):
        name, _, path = source.partition("=")
        return name, path
    return None, source


def _all_named(parts: list[tuple[str | None, object]]) -> Sources:
    named: dict[str, str | Dataset | Frames] = {}
    for given, source in parts:
        kept = _one_of(source)
        name = check_domain(_name_of(kept) if given is None else given)
        if name in named:
            raise DataError(
                f"two sources are called {name!r}; give each a name of its own, as in "
                f"{name}=FOLDER {name}2=FOLDER"
            )
        named[name] = kept
    if not named:
        raise DataError("no source is given; expected the path of a folder or file")
    return Sources(named)


def _path_of(source: object) -> str:
    check_source(source)
    return str(source)


def _name_of(source: str | Dataset | Frames) -> str:
    """What a source is called: as its folder is, or its file without endings."""
    if isinstance(source, Dataset):
        return source.name
    if isinstance(source, Frames):
        return str(source)
    path = Path(source).resolve()
    return path.name if path.is_dir() or source == PUBLISHED else path.name.split(".")[0]


def check_domain(name: str) -> str:
    """The name of a domain, if it is one.

    Raises:
        DataError: it is empty, or has characters that would not be told from an id's.
    """
    if not name or len(name) > 100 or not name.isprintable() or name.strip() != name or "/" in name:
        raise DataError(
            f"a source is called {quoted(name, 100)}; expected 1 to 100 printable characters "
            "without '/': give it a name, as in NAME=FOLDER"
        )
    return name


def check_source(source: object) -> None:
    """Refuse a source that is no path, or a path at which there is nothing.

    Raises:
        DataError: nothing is there, or it is no path, such as a data frame.
    """
    if isinstance(source, str | PathLike) and str(source):
        if str(source) != PUBLISHED:
            _refuse_missing(Path(source))
        return
    if isinstance(source, Dataset):
        raise DataError(f"{source!r} is read already; give it to letterrec.fit as it is")
    module, name = type(source).__module__.partition(".")[0], type(source).__name__
    kind = name if module == "builtins" else f"{module}.{name}"
    given = repr(source) if source is None or isinstance(source, str) else f"a {kind}"
    raise DataError(
        f"source is {given}; expected the path of a folder or file, a DataFrame, or a Dataset from "
        "letterrec.read"
    )


def _refuse_missing(path: Path) -> None:
    from letterrec.data.readers.discovery import KNOWN

    try:
        there = path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        reason = error.strerror or error
        raise DataError(f"{short(path, 120)} cannot be opened ({reason})") from None
    if not there:
        raise DataError(f"{path} does not exist; expected a folder or file of {KNOWN}")


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False
