"""What requests and answers look like, and how large they may be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_K = 200
MAX_HISTORY = 1_000
MAX_FILTER = 10_000
MAX_QUERIES = 100
MAX_NEW_ITEMS = 1_000
MAX_INSTRUCTION = 500

Id = Annotated[str, Field(min_length=1, max_length=256)]
Text = Annotated[str, Field(max_length=10_000)]
# The first wrong id of a list is told: half a million of them must not be.
Ids = Annotated[list[Id], Field(fail_fast=True)]
State = Literal["active", "blocked", "deleted"]


class _Strict(BaseModel):
    """Unknown keys are refused; a number is a number, not a text with digits."""

    model_config = ConfigDict(extra="forbid", strict=True)


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
    instruction: Annotated[str, Field(max_length=MAX_INSTRUCTION)] | None = Field(
        None,
        description="what is wanted, in words, if the recommender was trained to read it",
    )
    explain: bool = Field(
        False, description="say which items of the history share codes with a recommendation"
    )


class BatchRequest(_Strict):
    """Several requests, answered together."""

    requests: Annotated[list[RecommendRequest], Field(fail_fast=True)] = Field(
        min_length=1, max_length=MAX_QUERIES
    )


class ItemName(BaseModel):
    """An item, briefly."""

    item: str
    title: str
    identifier: str


class Because(ItemName):
    """An item of the history that shares codes with a recommended one."""

    shared: list[bool] = Field(description="per level, whether the codes are equal")


class Recommendation(ItemName):
    """A recommended item."""

    log_probability: float = Field(description="natural logarithm, given the history")
    because: list[Because] | None = Field(None, description="with explain; nearest first")


class RecommendResponse(BaseModel):
    """Recommendations, best first."""

    items: list[Recommendation]
    history: list[ItemName] | None = Field(None, description="with explain; oldest first")


class BatchResponse(BaseModel):
    """Answers in the order of the requests."""

    answers: list[RecommendResponse]


class Neighbour(ItemName):
    """An item near another in code space."""

    leading: int = Field(description="codes shared from the first level on")
    shared: int = Field(description="codes shared at equal places")


class Item(ItemName):
    """An item of the catalogue."""

    text: str | None
    state: State
    codes: list[int]
    added: bool = Field(description="whether it came after training")
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

    item: Id
    title: Text = ""
    text: Text = Field("", description="whatever else describes it: brand, categories, ...")


class NewItems(_Strict):
    """Items to add, all or none."""

    items: Annotated[list[NewItem], Field(fail_fast=True)] = Field(
        min_length=1, max_length=MAX_NEW_ITEMS
    )


class AddedItems(BaseModel):
    """The identifiers that new items got."""

    items: list[ItemName]
    generation: int = Field(description="edits of the catalogue since training")


class StateChange(_Strict):
    """What is to become of an item."""

    state: State = Field(
        description="active: recommended; blocked: never recommended; deleted: not found either"
    )


class ItemState(BaseModel):
    """The state of an item."""

    item: str
    state: State
    generation: int


class Level(BaseModel):
    """Use of the codes of one level."""

    size: int
    used: int
    entropy: float = Field(description="bits")
    counts: list[int] = Field(description="items per code")


class RunInfo(BaseModel):
    """What is served."""

    name: str
    recommender: str
    tokenizer: str
    encoder: str | None
    users: int
    items: int
    blocked: int
    deleted: int
    added: int
    generation: int
    created: str
    letterrec: str
    metrics: dict[str, float] | None = Field(description="on the test split")
    levels: list[Level]
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


class Map(BaseModel):
    """Points on the first three principal components."""

    x: list[float]
    y: list[float]
    z: list[float]
    label: list[str]
    code: list[int] = Field(description="code at the first level (items), or the code itself")
    size: list[int] = Field(description="interactions of an item, or items of a code")
    explained: list[float] = Field(description="share of the variance per component")
    total: int = Field(description="points there are; a sample is sent where they are many")


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class Health(BaseModel):
    """The state of the server."""

    status: str
