"""The schemas of recommendations, with their size limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from letterrec.serving.http.schemas.values import (
    MAX_NAME,
    Attribute,
    Id,
    Ids,
    ItemName,
    Name,
    Strict,
    Value,
    Versioned,
)
from letterrec.serving.queries import Unknown

MAX_K = 200
MAX_HISTORY = 1_000
MAX_FILTER = 10_000
MAX_QUERIES = 100
MAX_INSTRUCTION = 500
MAX_ATTRIBUTES = 20


class RecommendRequest(Strict):
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
    split_key: Id | None = Field(
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


class BatchRequest(Strict):
    """Several requests, answered together; one that is wrong does not stop the others."""

    requests: list[Annotated[RecommendRequest, WrapValidator(_on_its_own)]] = Field(
        min_length=1, max_length=MAX_QUERIES
    )

    def parsed(self) -> list[RecommendRequest | ValidationError]:
        """Each request, parsed, or its validation error."""
        return list(self.requests)


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

    model: str | None = Field(
        None, description="the model's name; null where several models answered, or none"
    )
    run: str | None = Field(None, description="the id of its run, likewise")
    generation: int | None = Field(
        None, description="edits of its catalogue since training, likewise"
    )
    answers: list[RecommendResponse | Refused]
