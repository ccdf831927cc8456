"""Every setting with its type, default, allowed values and meaning, read off the settings' classes.

Behind `letterrec settings` and the page of the documentation. What a setting means is said where
it is declared.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from letterrec.config.settings import Settings
from letterrec.errors import SettingsError

_TYPES = {int: "whole number", float: "number", bool: "true or false", str: "text"}
_BOUNDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}


@dataclass(frozen=True)
class Setting:
    """One setting, all in words.

    Attributes:
        key: as `--set` takes it, such as ``training.epochs``.
        type: what the value is.
        default: as TOML; ``unset`` where there is none.
        allowed: range or choices; empty where the type says it all.
        meaning: what it does, with its unit.
    """

    key: str
    type: str
    default: str
    allowed: str
    meaning: str


@dataclass(frozen=True)
class SettingsSection:
    """The settings of one section, or of one kind of it (``recommender`` has several).

    Attributes:
        title: its key, and its kind where there are several: ``recommender, name = "tiger"``.
        about: what it is for.
        settings: in the order in which they are declared.
    """

    title: str
    about: str
    settings: tuple[Setting, ...]


def settings_reference(wanted: str | None = None) -> list[SettingsSection]:
    """All settings by section, or those of a section or of one key.

    Args:
        wanted: a section, such as ``training`` or ``recommender.tasks``, or a key, such as
            ``training.epochs``; None for all.

    Raises:
        SettingsError: there is neither a section nor a key of that name.
    """
    every = list(_sections(Settings(), ""))
    if wanted is None:
        return every
    found = [
        SettingsSection(section.title, section.about, settings)
        for section in every
        if (settings := tuple(s for s in section.settings if _is_in(s.key, wanted)))
    ]
    if not found:
        names = dict.fromkeys(s.key.partition(".")[0] for part in every for s in part.settings)
        raise SettingsError(
            f"no section or setting is called {wanted!r}; sections: {', '.join(names)}"
        )
    return found


def settings_markdown() -> str:
    """All settings as Markdown: a heading and a table per section."""
    lines: list[str] = []
    for section in settings_reference():
        lines += [f"## {section.title}", "", section.about, ""]
        lines += ["| key | type | default | allowed | meaning |", "|---|---|---|---|---|"]
        for s in section.settings:
            cells = (f"`{s.key}`", s.type, f"`{s.default}`", s.allowed, s.meaning)
            lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _is_in(key: str, wanted: str) -> bool:
    return key == wanted or key.startswith(f"{wanted}.")


def _sections(
    model: BaseModel, path: str, names: tuple[str, ...] = ()
) -> Iterator[SettingsSection]:
    """The section that a model is, with the values it has, then the sections in it.

    Args:
        model: the section.
        path: its key; empty at the top.
        names: of the kinds, where the section is one of several.
    """
    own: list[Setting] = []
    inner: list[tuple[str, FieldInfo, BaseModel]] = []
    for name, field in type(model).model_fields.items():
        key, value = f"{path}.{name}".lstrip("."), getattr(model, name)
        if isinstance(value, BaseModel):
            inner.append((key, field, value))
        elif name == "name" and names:
            allowed = ", ".join(map(json.dumps, names))
            own.append(Setting(key, "text", json.dumps(value), allowed, "which kind it is"))
        else:
            own.append(_setting(key, field, value))
    title = path or "at the top"
    if names:
        title = f'{path}, name = "{_name(model)}"'
    yield SettingsSection(title, " ".join((inspect.getdoc(model) or "").split()), tuple(own))
    for key, field, value in inner:
        kinds = [k for k in get_args(field.annotation) if issubclass(k, BaseModel)]
        others: list[BaseModel] = [k() for k in kinds if not isinstance(value, k)]
        for section in (value, *others):
            yield from _sections(section, key, tuple(_name(s) for s in (value, *others) if others))


def _name(model: BaseModel) -> str:
    """The name that chooses this kind of a section."""
    return str(model.model_dump()["name"])


def _setting(key: str, field: FieldInfo, value: object) -> Setting:
    annotation = field.annotation
    if get_origin(annotation) in (Union, UnionType):  # with None, which is "unset"
        (annotation,) = (kind for kind in get_args(annotation) if kind is not NoneType)
    inside = get_args(annotation)[:1]
    if get_origin(annotation) is tuple and get_origin(*inside) is Literal:
        kind, allowed = "list of texts", ", ".join(map(json.dumps, get_args(*inside)))
    elif get_origin(annotation) is Literal:
        kind = "text"
        allowed = ", ".join(map(json.dumps, get_args(annotation)))
    else:
        kind = _type_name(annotation)
        allowed = ", ".join(
            words.format(f"{getattr(bound, name):g}")
            for bound in field.metadata
            for name, words in _BOUNDS.items()
            if hasattr(bound, name)
        )
    default = "unset" if value is None else json.dumps(value)
    return Setting(key, kind, default, allowed, field.description or "")


def _type_name(annotation: Any) -> str:
    outer, inside = get_origin(annotation), get_args(annotation)
    if outer is tuple:
        return f"list of {_TYPES[inside[0]]}s"
    return "table" if outer is dict else _TYPES[annotation]
