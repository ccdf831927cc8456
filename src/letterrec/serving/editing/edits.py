"""The kinds of edits of a catalogue."""

from __future__ import annotations

from dataclasses import dataclass, field

from letterrec.data.text import ItemText
from letterrec.serving.catalogue.states import State


@dataclass(frozen=True)
class Key:
    """By which a repeated edit is recognised.

    Attributes:
        name: fingerprint of the idempotency key.
        request: fingerprint of what was asked with it.
    """

    name: str
    request: str


@dataclass(frozen=True)
class AddItems:
    """Add items, of which the catalogue has none: id -> title and text; and id -> domain, where
    that is said (`placing`).
    """

    items: dict[str, ItemText]
    key: Key | None = None
    domains: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PutItems:
    """Add items, or give those that are there this title, text and image, each where it is not
    empty: id -> title and text; and id -> domain, where that is said (`placing`).
    """

    items: dict[str, ItemText]
    key: Key | None = None
    domains: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SetStates:
    """Block, delete or restore items: id -> state."""

    states: dict[str, State]
    key: Key | None = None


@dataclass(frozen=True)
class ChangeItem:
    """Change what is not None of an item."""

    item: str
    title: str | None = None
    text: str | None = None
    image: str | None = None
    state: State | None = None
    key: Key | None = None


Edit = AddItems | PutItems | SetStates | ChangeItem
