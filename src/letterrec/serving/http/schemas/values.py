"""What all schemas share: ids and texts, what answered, an item's name, what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import ErrorDetails

from letterrec.data.attributes import LONGEST
from letterrec.data.ids import as_id
from letterrec.data.text import image_of
from letterrec.errors import quoted
from letterrec.serving.queries import one_line

MAX_NAME = 64
_BRANCHES = ("constrained-str", "list[union[constrained-str,int,bool]]")  # pydantic's, in a place


def _as_text(value: object) -> object:
    """A number as its id; text is kept, and checked when it is looked up."""
    if isinstance(value, str) or value is None:
        return value
    if type(value) is int:  # the common case in long lists
        return str(value)
    item = as_id(value)
    return value if item is None else item


def _new_id(value: object) -> str:
    item = as_id(value)
    if item is None:
        raise ValueError(f"{value!r} is no id; expected text or a whole number")
    return item


def _image(value: str) -> str:
    if value and image_of(value) != value:
        raise ValueError("expected an address that begins with https://, or with one / on the host")
    return value


_ID_SCHEMA = {
    "anyOf": [{"type": "string", "minLength": 1, "maxLength": 256}, {"type": "integer"}],
    "description": "an item's or user's id; a whole number is its digits",
}
Id = Annotated[
    str,
    Field(min_length=1, max_length=256),
    BeforeValidator(_as_text),
    WithJsonSchema(_ID_SCHEMA, mode="validation"),
]
NewId = Annotated[
    str,
    Field(min_length=1, max_length=256),
    BeforeValidator(_new_id),
    WithJsonSchema(_ID_SCHEMA, mode="validation"),
]
Text = Annotated[str, Field(max_length=10_000)]
Image = Annotated[str, Field(max_length=2_001), AfterValidator(_image)]
Name = Annotated[str, Field(max_length=256)]
# Validation stops at the first invalid id of a list: there may be half a million.
Ids = Annotated[list[Id], Field(fail_fast=True)]
Attribute = Annotated[str, Field(min_length=1, max_length=256)]
Value = Annotated[str, Field(min_length=1, max_length=LONGEST)] | int | bool


class Strict(BaseModel):
    """Unknown keys are refused; a number is a number, not a text with digits."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Versioned(BaseModel):
    """What answered."""

    model: str = Field(description="the model's name")
    run: str = Field(description="the id of its run")
    generation: int = Field(description="edits of its catalogue since training")


class ItemName(BaseModel):
    """An item, briefly."""

    item: str
    title: str
    identifier: str
    image: str = Field(
        "", description="address of its image, on https or this server; empty where it has none"
    )


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class Health(BaseModel):
    """The state of the server."""

    status: str


def why_invalid(errors: Sequence[ErrorDetails]) -> str:
    """The first of pydantic's errors as one line: where, what came, what was expected."""
    first = errors[0]
    if first["type"] == "missing" and first["loc"] == ("body",):
        return "the body is empty; expected a JSON object"
    parts = [str(part) for part in first["loc"] if part not in _BRANCHES]
    where = one_line(".".join(parts) or "request", 60)
    message = one_line(first["msg"].removeprefix("Value error, "), 150)
    if len(parts) < len(first["loc"]):
        message = "expected text, a whole number, true or false, or a list of these; nothing empty"
    return one_line(f"{where} = {quoted(first.get('input'))}: {message[:1].lower()}{message[1:]}")
