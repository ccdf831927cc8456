"""Load settings from a recipe and overrides, with errors that say what was expected.

A recipe is a TOML file in `recipes/`, holding what differs from the defaults.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from letterrec.config.section import Section
from letterrec.config.settings import Settings, leaves
from letterrec.errors import SettingsError, quoted

_LONG = 120  # characters of a setting's value or name in a message
AnySettings = Settings | Mapping[str, object] | str | PathLike[str] | None

_WORDS = {  # how a kind of error of pydantic begins -> what was expected
    "model": "a section, not a value: give section.key=value",
    "dict": "a section, not a value: give section.key=value",
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "tuple": "a list",
}
_RETIRED = {  # settings of earlier versions, section.key -> why there is nothing to set any more
    "identifiers.sinkhorn_epsilon": "the assignment of free codes to colliding items is exact now",
    "identifiers.sinkhorn_iterations": "the assignment of free codes to items is exact now",
    "transitions.steps": "transitions are learned, not counted: transitions.window is their reach",
}
# Settings that earlier versions lacked: recommender -> key -> what was done without.
_LATER: dict[str, dict[str, Any]] = {
    "rqt": {"item_weight": 0.0, "item_share": 0.0},
    "sasrec": {"norm_first": True},
}


def recipes() -> list[str]:
    """Names of the shipped recipes."""
    folder = resources.files("letterrec.config") / "recipes"
    return sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml"))


def describe_recipes() -> dict[str, str]:
    """Recipe -> the comment on its first line."""
    folder = resources.files("letterrec.config") / "recipes"
    texts = {name: (folder / f"{name}.toml").read_text("utf-8") for name in recipes()}
    return {name: text.partition("\n")[0].lstrip("# ") for name, text in texts.items()}


def load_settings(
    recipe: str | Path | None = None,
    overrides: Sequence[str] | Mapping[str, object] | None = None,
) -> Settings:
    """Settings from a recipe with overrides.

    An override changes only what it names, at any depth. Without a recipe, the override
    ``recommender.name=NAME`` starts from the recipe NAME. With a recipe, an override that chooses
    another tokenizer or recommender keeps those of the recipe's settings of that section that the
    other one has too.

    Args:
        recipe: a shipped name or a TOML file; None takes the default.
        overrides: ``"section.key=value"`` each, as the command line takes them, or a dict, nested
            (``{"training": {"epochs": 5}}``) or with dots (``{"training.epochs": 5}``).

    Raises:
        SettingsError: the recipe does not exist or is no TOML; a key is unknown; a value does
            not fit.
    """
    pairs = list(_pairs(overrides or []))
    names = {k[0]: v for k, v in pairs if len(k) == 2 and k[1] == "name"}
    values = _read_recipe(str(recipe if recipe is not None else names.get("recommender", "rqt")))
    for section, name in names.items():
        _change_kind(values, section, name)
    return _overridden(values, pairs)


def changed(settings: Settings, overrides: Sequence[str] | Mapping[str, object] | None) -> Settings:
    """Settings of a run with overrides as of `load_settings`.

    Raises:
        SettingsError: a key is unknown; a value does not fit.
    """
    return _overridden(settings.model_dump(), list(_pairs(overrides or [])))


def _overridden(values: dict[str, Any], pairs: Iterable[tuple[list[str], object]]) -> Settings:
    """Nested settings, of which those named by pairs of keys and value are set."""
    for keys, value in pairs:
        table = values
        for key in keys[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise SettingsError(f"--set {'.'.join(keys)}: {key!r} is a value, not a section")
        table[keys[-1]] = value
    return parse_settings(values)


def as_settings(settings: AnySettings, recipe: str | PathLike[str] | None = None) -> Settings:
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
            f"settings = {quoted(settings)}: expected a dict such as {{'training.epochs': 5}}, "
            "the name of a recipe, or what letterrec.load_settings gives"
        )
    if recipe is not None:
        raise SettingsError(
            f"recipe = {quoted(recipe)} beside settings = {quoted(settings)}: give one of "
            "them, or the recipe and a dict of what is changed"
        )
    return settings if isinstance(settings, Settings) else load_settings(_recipe(settings))


def parse_settings(values: dict[str, Any]) -> Settings:
    """Validate a nested dict of settings; what is not given has its default."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def parse_kept_settings(values: dict[str, Any]) -> Settings:
    """Validate what a run folder keeps.

    Settings of earlier versions that are retired are left out; those that earlier versions lacked
    are set to what was done without them.

    Raises:
        SettingsError: as `parse_settings`.
    """
    kept = dict(values)
    for name in _RETIRED:
        section, key = name.split(".")
        if isinstance(kept.get(section), dict):
            kept[section] = {k: v for k, v in kept[section].items() if k != key}
    recommender = kept.get("recommender")
    if isinstance(recommender, dict):
        kept["recommender"] = {**_LATER.get(str(recommender.get("name")), {}), **recommender}
    return parse_settings(kept)


def _pairs(overrides: Sequence[str] | Mapping[str, object]) -> Iterator[tuple[list[str], object]]:
    """The keys and the value of each override."""
    if isinstance(overrides, Mapping):
        for keys, value in leaves(overrides):
            yield [k for key in keys for k in key.split(".")], value
    elif isinstance(overrides, str) or not all(isinstance(o, str) for o in overrides):
        raise SettingsError(
            f"overrides = {overrides!r}: expected a list such as ['training.epochs=5'], or a dict"
        )
    else:
        for text in overrides:
            yield from _parse_override(text)


def _parse_override(text: str) -> Iterator[tuple[list[str], object]]:
    """The keys of a ``section.key=value`` and their value; an inline table names several."""
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise SettingsError(f"--set {text!r}: expected section.key=value, as in training.epochs=5")
    try:
        value = toml_value(raw)
    except tomllib.TOMLDecodeError:
        value = raw  # a bare word or a path
    except ValueError:
        raise SettingsError(f"--set {key}: {quoted(raw, _LONG)} cannot be a value") from None
    waiting = [([k.strip() for k in key.split(".")], value)]
    while waiting:
        keys, value = waiting.pop(0)
        if isinstance(value, dict):
            waiting += [([*keys, k], v) for k, v in value.items()]
        else:
            yield keys, value


def toml_value(text: str) -> object:
    """A value as TOML spells it.

    Raises:
        TOMLDecodeError: TOML spells none so; bare words are such.
        ValueError: a number of too many digits, a table too deep, or more than a value.

    >>> toml_value("1e-3"), toml_value(" [64, 32]"), toml_value('"rqt"')
    (0.001, [64, 32], 'rqt')
    """
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def _read_recipe(name: str) -> dict[str, Any]:
    shipped = resources.files("letterrec.config") / "recipes" / f"{name}.toml"
    try:
        if name in recipes():
            return tomllib.loads(shipped.read_text("utf-8"))
        if Path(name).is_file():
            return tomllib.loads(Path(name).read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"recipe {name}: not valid TOML: {error}") from None
    except OSError as error:
        raise SettingsError(f"recipe {name} cannot be read: {error.strerror}") from None
    raise SettingsError(
        f"recipe {name!r}: neither a file nor one of the shipped recipes: {', '.join(recipes())}"
    )


def _recipe(recipe: str | PathLike[str] | None) -> str | Path | None:
    if recipe is None or isinstance(recipe, str):
        return recipe
    if not isinstance(recipe, PathLike):
        raise SettingsError(
            f"recipe = {quoted(recipe)}: expected a recipe's name or the path of a TOML file"
        )
    return Path(recipe)


def _change_kind(values: dict[str, Any], section: str, name: object) -> None:
    """Drop the recipe's keys that the chosen kind does not have."""
    kind = next((k for k in _kinds(section) if k.model_fields["name"].default == name), None)
    table = values.get(section)
    if kind is not None and isinstance(table, dict):
        values[section] = {key: v for key, v in table.items() if key in kind.model_fields}


def _kinds(section: str) -> list[type[Section]]:
    """The classes that a section chooses from by its ``name``; none where it is of one class."""
    field = Settings.model_fields.get(section)
    return list(get_args(field.annotation)) if field is not None and field.discriminator else []


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    section, *inside = first["loc"] or ("",)
    kind: type[BaseModel] | None = None
    if inside and (kinds := _kinds(str(section))):  # the name that chose the kind comes first
        kind = next(k for k in kinds if k.model_fields["name"].default == inside[0])
        inside = inside[1:]
    where = ".".join(str(p) for p in (section, *inside))
    if where in _RETIRED:
        return f"setting {where!r} is retired: {_RETIRED[where]}; leave it out"
    if first["type"] == "extra_forbidden":
        table = Settings if kind is None else kind
        for part in first["loc"][:-1] if kind is None else inside[:-1]:
            table = _class_of(table, str(part))
        level = "sections" if table is Settings else "settings of that section"
        known = ", ".join(table.model_fields)
        return f"setting {quoted(where, _LONG)} does not exist; {level}: {known}"
    if inside and inside[-1] == "[key]":
        return (
            f"setting {quoted(where.removesuffix('.[key]'), _LONG)} does not exist; "
            f"expected one of {first['ctx']['expected']}"
        )
    if first["type"] == "union_tag_invalid":
        tag, tags = first["ctx"]["tag"], first["ctx"]["expected_tags"]
        return f"setting '{where}.name' = {quoted(tag, _LONG)}: expected one of {tags}"
    if first["type"] == "value_error":
        return f"settings{f' of {where}' if where else ''}: {first['ctx']['error']}"
    return f"setting {where!r} = {quoted(first['input'], _LONG)}: expected {_expected(first)}"


def _expected(error: ErrorDetails) -> str:
    """What was expected, by an error of pydantic."""
    kind, message = error["type"], error["msg"].lower()
    for start, words in _WORDS.items():
        if kind.startswith(start):
            return words
    number = "a number " if kind.startswith(("greater", "less")) else ""
    return number + message.removeprefix("input should be ")


def _class_of(section: type[BaseModel], key: str) -> type[BaseModel]:
    inner = section.model_fields[key].annotation
    assert isinstance(inner, type)
    assert issubclass(inner, BaseModel)
    return inner
