"""A source becomes the data of a run: read as settings say, one or several as one, and split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from letterrec.config.settings import DataSettings
from letterrec.data.behaviours import with_targets
from letterrec.data.cold import ColdItems, hold_out
from letterrec.data.dataset import Dataset
from letterrec.data.domains import combined
from letterrec.data.readers.base import ReadOptions
from letterrec.data.readers.frames import Frames
from letterrec.data.readers.frames import read as read_frames
from letterrec.data.sources import PUBLISHED, Sources
from letterrec.data.temporal import split_in_time
from letterrec.errors import DataError, SettingsError


def read_split(
    source: str | Dataset | Frames | Sources, settings: DataSettings, seed: int
) -> tuple[Dataset, ColdItems | None]:
    """Read a source, and hold out what the settings ask for: a share of its items, and the
    interactions of validation and test.

    Args:
        source: what `letterrec.read` takes or gave, or several of them.
        settings: how it is read, ``cold_share`` and ``split``.
        seed: decides which items are held out.

    Raises:
        DataError: the source cannot be used.
        SettingsError: ``source`` is a `Dataset` already, and the settings say how to read it.
    """
    dataset = read_parts(source, settings)
    if settings.targets:
        dataset = with_targets(dataset, settings.targets)
    cold = None
    if settings.cold_share > 0:
        dataset, cold = hold_out(dataset, settings.cold_share, seed)
    if settings.split == "temporal":
        dataset = split_in_time(dataset, settings.test_from, settings.valid_from)
    return replace(dataset, times=None), cold


def read_parts(source: str | Dataset | Frames | Sources, settings: DataSettings) -> Dataset:
    """One source, or several as one data set, read as the settings say.

    Raises:
        DataError: a source cannot be used.
        SettingsError: one is read already, and the settings say how to read it.
    """
    if not isinstance(source, Sources):
        return _read(source, settings)
    parts = {name: _read(part, settings) for name, part in source.named.items()}
    return combined(parts, join_users=settings.join_users)


def _read(source: str | Dataset | Frames, settings: DataSettings) -> Dataset:
    """One source, read as the settings say; what is read already is taken as it is."""
    reading = settings.reading()
    if not isinstance(source, Dataset):
        return read_one(source, ReadOptions(**reading))
    given = {k: v for k, v in reading.items() if v not in (None, {}, "time")}
    if given:
        name, value = next(iter(given.items()))
        raise SettingsError(
            f"data.{name} = {value!r}, but {source!r} is taken as it is; "
            f"give {name} to letterrec.read instead"
        )
    return source


def read_one(source: str | Frames, options: ReadOptions, cache: Path | None = None) -> Dataset:
    """Read one source, which is none that is read already.

    Args:
        source: the path of a folder or file, a published data set, or tables in memory.
        options: how.
        cache: where fetched data is kept; None: as of `letterrec.read`.

    Raises:
        DataError: its format is unknown, or its content cannot be used.
    """
    if isinstance(source, Frames):
        return read_frames(source, options)
    from letterrec.data.readers.discovery import discover

    path = Path(source)
    if str(source) == PUBLISHED and not path.exists():
        from letterrec.data.readers import movielens

        return movielens.read(options, cache=cache)
    try:
        reader = discover(path, options)
    except OSError as error:
        raise DataError(f"{path} cannot be opened ({error.strerror or error})") from None
    dataset = reader.read(path, options)
    if str(source) == PUBLISHED:
        note = f"./{PUBLISHED} is read; rename it to have MovieLens-100k fetched"
        return replace(dataset, warnings=(note, *dataset.warnings))
    return dataset
