"""The schemas of requests and responses, with their size limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import ErrorDetails

from letterrec.data.attributes import LONGEST
from letterrec.data.ids import as_id
from letterrec.serving.queries import Unknown, one_line

MAX_K = 200
MAX_HISTORY = 1_000
MAX_FILTER = 10_000
MAX_QUERIES = 100
MAX_NEW_ITEMS = 1_000
MAX_INSTRUCTION = 500
MAX_ATTRIBUTES = 20
MAX_NAME = 64


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
Name = Annotated[str, Field(max_length=256)]
# Validation stops at the first invalid id of a list: there may be half a million.
Ids = Annotated[list[Id], Field(fail_fast=True)]
Attribute = Annotated[str, Field(min_length=1, max_length=256)]
Value = Annotated[str, Field(min_length=1, max_length=LONGEST)] | int | bool
State = Literal["active", "blocked", "deleted"]


class _Strict(BaseModel):
    """Unknown keys are refused; a number is a number, not a text with digits."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Versioned(BaseModel):
    """What answered."""

    model: str = Field(description="the model's name")
    run: str = Field(description="the id of its run")
    generation: int = Field(description="edits of its catalogue since training")


class RecommendRequest(_Strict):
    """What to recommend to whom."""

    history: Ids | None = Field(
        None,
        max_length=MAX_HISTORY,
        description="item ids, oldest first; an empty list gets the most popular items",
    )
    user: Id | None = Field(
        None, description="a user of the run, whose history in the training data is used"
    )
    k: int = Field(10, ge=1, le=MAX_K, description="items wanted")
    exclude_seen: bool = Field(True, description="leave out the items of the history")
    allowed: Ids | None = Field(
        None, max_length=MAX_FILTER, description="recommend only from these items"
    )
    blocked: Ids = Field(
        default_factory=list, max_length=MAX_FILTER, description="never recommend these items"
    )
    where: dict[Attribute, Value | Annotated[list[Value], Field(min_length=1)]] | None = Field(
        None,
        max_length=MAX_ATTRIBUTES,
        description="recommend only items of these attributes: attribute -> a value, or several of "
        'which any will do, as in {"category": "Guitars"}',
    )
    instruction: Annotated[str, Field(max_length=MAX_INSTRUCTION)] | None = Field(
        None,
        description="what is wanted, in words ('a lipstick, no red'), if the recommender was "
        "trained to read it; beside a history or a user, or instead of either",
    )
    behaviour: Annotated[str, Field(max_length=256)] | None = Field(
        None,
        description="what is asked for, such as buy, where the run tells behaviours apart; its "
        "targets if not given",
    )
    behaviours: list[Annotated[str, Field(max_length=256)]] | None = Field(
        None,
        max_length=MAX_HISTORY,
        description="by which behaviour each item came into the history; all by the first of the "
        "run's targets if not given",
    )
    unknown: Unknown = Field(
        "skip",
        description="ids that the catalogue does not have: skip (the answer names them) or refuse; "
        "a history or a list of allowed items of which nothing is known is always refused",
    )
    domain: Name | None = Field(
        None, description="recommend only from this one, of a run of several sources"
    )
    explain: bool = Field(
        False, description="say which items of the history share codes with a recommendation"
    )
    model: Annotated[str, Field(max_length=MAX_NAME)] | None = Field(
        None, description="which of the served models answers; without it, split by weight"
    )
    split_key: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        None,
        description="what stays with one model where requests are split, such as an id of a person "
        "or a session; without it, the user, and without that each request is drawn anew",
    )


def _on_its_own(value: object, check: ValidatorFunctionWrapHandler) -> object:
    """Validate one request of a batch; return its error, so that the others are still answered."""
    try:
        return check(value)
    except ValidationError as error:
        return error


class BatchRequest(_Strict):
    """Several requests, answered together; one that is wrong does not stop the others."""

    requests: list[Annotated[RecommendRequest, WrapValidator(_on_its_own)]] = Field(
        min_length=1, max_length=MAX_QUERIES
    )

    def parsed(self) -> list[RecommendRequest | ValidationError]:
        """Each request, parsed, or its validation error."""
        return list(self.requests)


class ItemName(BaseModel):
    """An item, briefly."""

    item: str
    title: str
    identifier: str
    image: str = Field(
        "", description="address of its image, on https or this server; empty where it has none"
    )


class Because(ItemName):
    """An item of the history, and what it has to do with a recommended one."""

    share: float = Field(
        description="part of the recommended item's probability that comes, by transitions, from "
        "this item"
    )
    followed: int = Field(
        description="users who came to the recommended item within 20 interactions after this one"
    )
    similarity: float | None = Field(
        description="cosine of the content of both; null where items have no content"
    )
    shared: list[bool] = Field(description="per level, whether the codes are equal")


class Recommendation(ItemName):
    """A recommended item."""

    score: float = Field(description="what items are ranked by, higher is better")
    log_probability: float | None = Field(
        description="natural logarithm, given the history; null where a baseline ranks"
    )
    recommender: float | None = Field(
        None,
        description="with explain: part of the probability that is the recommender's own; it and "
        "the shares of because are 1 in sum; null for baselines and empty histories",
    )
    because: list[Because] | None = Field(None, description="with explain; largest share first")


class RecommendResponse(Versioned):
    """Recommendations, best first."""

    items: list[Recommendation]
    history: list[ItemName] | None = Field(None, description="with explain; oldest first")
    behaviours: list[str] | None = Field(
        None, description="with explain, of each item of the history; null without behaviours"
    )
    next_behaviour: dict[str, float] | None = Field(
        None,
        description="with explain: how likely the next item comes by each behaviour, before one is "
        "asked for; null where the run does not predict that, or of an empty history",
    )
    skipped: list[str] = Field(
        default_factory=list,
        description="ids of history, allowed and blocked that the catalogue does not have",
    )
    note: str | None = Field(
        None, description="what should be known: that no item is near what was wished for"
    )


class Refusal(BaseModel):
    """Why one request of a batch was refused."""

    status: int = Field(description="what the request would have been answered with alone")
    detail: str


class Refused(BaseModel):
    """The entry of a batch response for a refused request."""

    error: Refusal


class BatchResponse(BaseModel):
    """An answer or an error for each request, in their order."""

    answers: list[RecommendResponse | Refused]


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


class SearchResponse(BaseModel):
    """What a search found, best first."""

    items: list[Found]


class NewItem(_Strict):
    """An item to add; its identifier is made from title and text."""

    item: NewId
    title: Text = ""
    text: Text = Field("", description="whatever else describes it: brand, categories, ...")
    domain: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None,
        description="which it is of, known or new: its id becomes domain/item. In a run of several "
        "sources it may be left out where the id begins with a domain",
    )


class NewItems(_Strict):
    """Items to add, all or none."""

    items: Annotated[list[NewItem], Field(fail_fast=True)] = Field(
        min_length=1, max_length=MAX_NEW_ITEMS
    )
    upsert: bool = Field(
        False, description="give items that are there these titles and texts; else they are refused"
    )


class AddedItems(Versioned):
    """The identifiers that new items got."""

    items: list[ItemName]


class ItemWords(_Strict):
    """What an item is called and described by."""

    title: Text = ""
    text: Text = Field("", description="whatever else describes it: brand, categories, ...")


class ItemChange(_Strict):
    """What is to change of an item; what is left out stays. At least one is needed."""

    state: State | None = Field(
        None,
        description="active: recommended; blocked: never recommended; deleted: not found either",
    )
    title: Text | None = None
    text: Text | None = Field(None, description="what describes it beside its title")


class ChangedItem(ItemName, Versioned):
    """An item after a change; its identifier is what it was."""

    state: State


class ImportedItems(Versioned):
    """What a table of items did."""

    rows: int = Field(description="items in the table")
    added: int
    changed: int = Field(description="items whose title or text is another now")


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


class ServedModel(Versioned):
    """A model that is served."""

    share: float = Field(description="of the requests that name no model")
    before: str | None = Field(description="the id of the run that a rollback goes back to")
    name: str = Field(description="of the data")
    items: int = Field(description="active ones")


class ServedModels(BaseModel):
    """The models that are served; the first one answers where nothing else is said."""

    models: list[ServedModel]


class Level(BaseModel):
    """Use of the codes of one level."""

    size: int
    used: int
    entropy: float = Field(description="bits")
    counts: list[int] = Field(description="items per code")


class Domain(BaseModel):
    """A source that the run's items are of."""

    name: str
    items: int = Field(description="that may be recommended")


class RunInfo(Versioned):
    """The run that is served."""

    name: str
    recommender: str
    tokenizer: str
    encoder: str | None
    users: int
    items: int
    blocked: int
    deleted: int
    added: int
    created: str
    letterrec: str
    metrics: dict[str, float] | None = Field(description="on the test split")
    behaviours: list[str] = Field(description="kinds of interactions; empty where there is one")
    targets: list[str] = Field(description="the behaviours that are predicted")
    domains: list[Domain]
    levels: list[Level] = Field(description="of the identifiers; none where a baseline ranks")
    follows_instructions: bool = Field(description="whether it reads wishes in words")
    example_user: str
    example_items: list[ItemName]


class Branch(BaseModel):
    """A code that follows a prefix."""

    code: int
    items: int
    titles: list[str] = Field(description="of the most popular items")
    item_ids: list[str] = Field(description="at the last level, the items of the identifier")


class Tree(BaseModel):
    """The codes that follow a prefix of identifiers."""

    prefix: list[int]
    items: int
    children: list[Branch]


class Colours(BaseModel):
    """A way to tell the points of a map apart."""

    title: str = Field(description="by what")
    names: list[str] = Field(description="the commonest kinds, and one for all others")
    of_each: list[int] = Field(description="of each point, its place in names")


class Map(BaseModel):
    """Points on the first three principal components, or in a plane by t-SNE."""

    x: list[float]
    y: list[float]
    z: list[float] = Field(description="without entries in a plane")
    item: list[str] = Field(description="ids, where the points are items")
    label: list[str]
    code: list[int] = Field(description="code at the first level (items), or the code itself")
    size: list[int] = Field(description="interactions of an item, or items of a code")
    explained: list[float] = Field(
        description="share of the variance per component; without entries by t-SNE"
    )
    total: int = Field(description="points there are; a sample is sent where they are many")
    colours: list[Colours] = Field(description="of items; the most telling first")


class Place(ItemName):
    """Where an item is on a map."""

    x: float
    y: float
    z: float = Field(description="0 in a plane")
    added: bool = Field(description="whether it came after training")


class Places(BaseModel):
    """Where items are on a map of items."""

    items: list[Place]


class SplitMetrics(BaseModel):
    """Metrics of a split."""

    split: str
    users: int
    metrics: dict[str, float]
    standard_errors: dict[str, float] = Field(description="empty where a run has none")
    popularity: dict[str, float] = Field(description="of recommending everyone the same")


class Evaluation(BaseModel):
    """What the run's evaluation gave."""

    splits: list[SplitMetrics]
    has_report: bool = Field(description="whether `letterrec report` has written one")


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class Health(BaseModel):
    """The state of the server."""

    status: str


def why_invalid(errors: Sequence[ErrorDetails]) -> str:
    """The first of pydantic's errors as one line: where, what came, what was expected."""
    first = errors[0]
    where = one_line(".".join(str(part) for part in first["loc"]) or "request", 60)
    value = repr(first.get("input"))
    value = value if len(value) <= 60 else value[:57] + "..."
    message = one_line(first["msg"].removeprefix("Value error, "), 150)
    return one_line(f"{where} = {value}: {message[:1].lower()}{message[1:]}")
