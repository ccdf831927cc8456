"""The schemas of what is shown of runs: models, metrics, codes, maps."""

from __future__ import annotations

from pydantic import BaseModel, Field

from letterrec.serving.http.schemas.values import ItemName, Versioned


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
    reads_behaviours: bool = Field(description="whether any behaviour may be asked for")
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
