"""What the public functions are given in Python: taken in its usual forms, or refused in one line.

Leaves what the values mean to the functions that get them.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from letterrec.config.settings import Settings, load_settings
from letterrec.errors import RequestError, RunError, SettingsError
from letterrec.runs.run import Run


def as_settings(
    settings: Settings | Mapping[str, Any] | str | PathLike[str] | None,
    recipe: str | PathLike[str] | None = None,
) -> Settings:
    """Settings from whatever `letterrec.fit` takes for them.

    Args:
        settings: what `load_settings` gave; a dict of what is changed, nested or with dots; a
            recipe, by its name or its file; or None.
        recipe: what a dict changes, or None does not change.

    Raises:
        SettingsError: neither, or a recipe beside settings that are complete without one.
    """
    if settings is None or isinstance(settings, Mapping):
        return load_settings(_recipe(recipe), settings)
    if not isinstance(settings, Settings | str | PathLike):
        raise SettingsError(
            f"settings = {_shown(settings)}: expected a dict such as {{'training.epochs': 5}}, the "
            "name of a recipe, or what letterrec.load_settings gives"
        )
    if recipe is not None:
        raise SettingsError(
            f"recipe = {_shown(recipe)} beside settings = {_shown(settings)}: give one of them, or "
            "the recipe and a dict of what is changed"
        )
    return settings if isinstance(settings, Settings) else load_settings(_recipe(settings))


def as_folder(folder: str | PathLike[str] | Run, name: str) -> Path:
    """A run's folder, given as its path or as the run.

    Raises:
        RunError: it is something else; ``name`` is what the message calls it.
    """
    if isinstance(folder, Run):
        return folder.folder
    if not isinstance(folder, str | PathLike) or not str(folder) or "\0" in str(folder):
        raise RunError(f"{name} = {_shown(folder)}: expected the path of a run's folder")
    return Path(folder)


def as_beam(beam: int | None) -> int | None:
    """A beam width, or None for the run's.

    Raises:
        RequestError: it is no whole number of at least 1.
    """
    if beam is None or (isinstance(beam, int) and not isinstance(beam, bool) and beam >= 1):
        return beam
    raise RequestError(f"beam = {_shown(beam)}: expected a whole number of at least 1, or None")


def _recipe(recipe: str | PathLike[str] | None) -> str | Path | None:
    if recipe is None or isinstance(recipe, str):
        return recipe
    if not isinstance(recipe, PathLike):
        raise SettingsError(
            f"recipe = {_shown(recipe)}: expected a recipe's name or the path of a TOML file"
        )
    return Path(recipe)


def _shown(value: object) -> str:
    """A value on one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"an object of type {type(value).__name__}"
