"""The schemas of a catalogue's items and their edits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from letterrec.serving.catalogue.states import State
from letterrec.serving.http.schemas.values import Image, ItemName, NewId, Strict, Text, Versioned

MAX_NEW_ITEMS = 1_000


class Neighbour(ItemName):
    """An item near another in code space."""

    leading: int = Field(description="codes shared from the first level on")
    shared: int = Field(description="codes shared at equal places")


class Item(ItemName, Versioned):
    """An item of the catalogue."""

    text: str | None
    state: State
    codes: list[int]
    added: bool = Field(description="whether it came after training")
    domain: str = Field(description="which source it is of")
    interactions: int = Field(description="in the training data")
    neighbours: list[Neighbour]


class Found(ItemName):
    """An item that a search found."""

    state: State
    interactions: int


class SearchResponse(Versioned):
    """What a search found, best first."""

    items: list[Found]


class NewItem(Strict):
    """An item to add; its identifier is made from title and text."""

    item: NewId
    title: Text = ""
    text: Text = Field("", description="whatever else describes it: brand, categories, ...")
    image: Image = Field(
        "", description="address of its image, on https or this server; none if not given"
    )
    domain: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None,
        description="which it is of, known or new: its id becomes domain/item. In a run of several "
        "sources it may be left out where the id begins with a domain",
    )


class NewItems(Strict):
    """Items to add, all or none."""

    items: Annotated[list[NewItem], Field(fail_fast=True)] = Field(
        min_length=1, max_length=MAX_NEW_ITEMS
    )
    upsert: bool = Field(
        False,
        description="give items that are there what is given here, as PUT does; else refuse them",
    )


class AddedItems(Versioned):
    """The items, with the identifiers that new ones got."""

    added: int
    changed: int = Field(description="items whose title, text or image is another now")
    items: list[ItemName]


class ItemWords(Strict):
    """What an item is called and described by; of an item that is there, what is empty stays."""

    title: Text = ""
    text: Text = Field("", description="whatever else describes it: brand, categories, ...")
    image: Image = Field("", description="address of its image, on https or this server")


class ItemChange(Strict):
    """What is to change of an item; what is left out stays. At least one is needed."""

    state: State | None = Field(
        None,
        description="active: recommended; blocked: never recommended; deleted: not found either",
    )
    title: Text | None = None
    text: Text | None = Field(None, description="what describes it beside its title")
    image: Image | None = Field(
        None, description="address of its image, on https or this server; empty takes it away"
    )


class ChangedItem(ItemName, Versioned):
    """An item after a change; its identifier is what it was."""

    state: State


class ImportedItems(Versioned):
    """What a table of items did."""

    rows: int = Field(description="items in the table")
    added: int
    changed: int = Field(description="items whose title, text or image is another now")


class ListedItem(ItemName):
    """An item in a list."""

    text: str | None
    state: State
    added: bool = Field(description="whether it came after training")
    interactions: int = Field(description="in the training data")


class ItemList(Versioned):
    """A page of the catalogue, in the order of the ids."""

    items: list[ListedItem]
    next: str | None = Field(description="give it as `after` for the next page; null at the end")
