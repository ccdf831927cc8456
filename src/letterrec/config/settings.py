"""Every setting of a run: its type, default and meaning. Frozen, and written as TOML.

`loading` makes them from a recipe and what is changed of it. The paper's settings (section 5.4)
are the recipe ``paper-letter-tiger``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from typing import Annotated, Any, ClassVar, Literal, Self

import tomli_w
from pydantic import Field, field_validator, model_validator

from letterrec.config.baselines import (
    Bert4RecSettings,
    CaserSettings,
    EaseSettings,
    HgnSettings,
    LightGcnSettings,
    MfSettings,
    PopularitySettings,
    SasRecSettings,
    SlistSettings,
)
from letterrec.config.section import RecommenderSection, Section, TransformerSettings
from letterrec.errors import SettingsError


class TrainingSettings(Section):
    """How a network is trained; one loop serves all of them."""

    epochs: int = Field(16, ge=1, description="passes over the training data, at most")
    batch_size: int = Field(256, ge=1, description="sequences (or items) per step")
    learning_rate: float = Field(
        2e-3,
        gt=0,
        description="highest learning rate of AdamW; it rises during warm-up",
    )
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="after warm-up the rate falls to zero along a cosine, or stays"
    )
    weight_decay: float = Field(0.01, ge=0, description="of AdamW, for weight matrices")
    warmup: float = Field(
        0.05, ge=0, le=1, description="share of the steps in which the rate rises"
    )
    clip: float = Field(
        1.0, ge=0, description="largest norm of the gradient; a longer one is scaled down; 0: none"
    )
    patience: int = Field(5, ge=1, description="validations without gain before training stops")


Role = Literal["user", "item", "timestamp", "rating", "title", "preference"]  # of a column
Order = Literal["time", "rows"]
SplitKind = Literal["leave-one-out", "temporal"]


class DataSettings(Section):
    """What is read, and how much of it."""

    k_core: int | None = Field(
        None,
        ge=0,
        description="drop users and items with fewer interactions, repeatedly; unset: 5 for "
        "interaction logs, none for LETTER's already prepared folders",
    )
    min_rating: float | None = Field(
        None,
        allow_inf_nan=False,
        description="drop interactions with a lower rating, or none, before anything else",
    )
    order: Order = Field(
        "time", description="'rows': the rows of the log are in the order of time already"
    )
    columns: dict[Role, str] = Field(
        {}, description="what the columns of the source are called, as in columns.user = 'userId'"
    )
    split: SplitKind = Field(
        "leave-one-out",
        description="what is held out: of each user the latest interaction and the one before it, "
        "or, 'temporal', what comes after one time for all",
    )
    test_from: str = Field(
        "0.1",
        description="temporal: where the test begins: a date or time (2024-03-01), or a share of "
        "the interactions, the latest",
    )
    valid_from: str | None = Field(
        None,
        description="temporal: where validation begins, in the same forms; unset: so that it has "
        "as many interactions as the test",
    )
    max_history: int = Field(20, ge=1, description="latest items of a history that are used")
    cold_share: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="share of the items held out of training, to measure how new items do "
        "(evaluate --cold)",
    )

    @field_validator("test_from", "valid_from", mode="before")
    @classmethod
    def _any_time(cls, value: object) -> str | None:
        """A number or a date of TOML as the text that it was."""
        return None if value is None else str(value)

    def reading(self) -> dict[str, Any]:
        """These settings as keyword arguments of `letterrec.read`."""
        return self.model_dump(include={"k_core", "min_rating", "order", "columns"})


class ContentSettings(Section):
    """Item texts -> content embeddings."""

    source: Literal["auto", "text", "collaborative"] = Field(
        "auto", description="auto: the text, or the CF embeddings where items have no text"
    )
    encoder: str = Field(
        "minilm", description="'minilm' (packaged, offline) or a model's name or folder"
    )
    batch_size: int = Field(64, ge=1, description="texts encoded at a time")
    max_tokens: int = Field(128, ge=8, description="text beyond this is cut")


class CollaborativeSettings(TransformerSettings):
    """Training interactions -> CF embeddings (SASRec with full cross-entropy)."""

    source: str = Field(
        "train", description="'train', 'given' (with the data), or a file of vectors with their ids"
    )
    ids: str | None = Field(
        None, description="file of the vectors' item ids, where they do not bring their own"
    )
    order: Literal["ids", "rows"] = Field(
        "ids", description="rows: vectors without ids are in the order of the run's items"
    )
    dim: int = Field(32, ge=2, description="width of the CF embeddings")
    layers: int = Field(2, ge=1, description="transformer layers")
    heads: int = Field(2, ge=1, description="attention heads; they divide dim")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of activations dropped in training")
    norm_first: bool = Field(
        True, description="normalize what layers read, instead of what they are added to"
    )
    training: TrainingSettings = TrainingSettings(epochs=14, batch_size=256, learning_rate=4e-3)


class LetterSettings(Section):
    """The LETTER tokenizer (section 4.2); alpha = beta = 0 is TIGER's RQ-VAE."""

    name: Literal["letter"] = "letter"
    levels: int = Field(4, ge=1, description="L, codes per identifier")
    codes: int = Field(256, ge=2, description="N, codes per level")
    dim: int = Field(32, ge=2, description="d, of latent, codes and CF embeddings")
    hidden: tuple[int, ...] = Field(
        (512, 256, 128), description="widths of the encoder's MLP; the decoder mirrors them"
    )
    mu: float = Field(0.25, ge=0, description="weight of the commitment term, eq. 2")
    alpha: float = Field(0.02, ge=0, description="weight of the collaborative term, eq. 5")
    beta: float = Field(1e-4, ge=0, description="weight of the diversity term, eq. 5")
    clusters: int = Field(10, ge=1, description="K, clusters of codes, eq. 4")
    fuse_cf: bool = Field(
        True, description="the encoder reads CF embeddings beside the content; the paper's does not"
    )
    cf_target: Literal["smoothed", "raw"] = Field(
        "smoothed",
        description="the CF embeddings of eq. 3: averaged over neighbours and scaled down, or, as "
        "in the paper, as they are",
    )
    input_scale: Literal["unit", "raw"] = Field(
        "unit",
        description="the encoder's inputs are centred with mean square 1, or, as in the paper, "
        "read as they are",
    )
    level_loss: Literal["sum", "mean"] = Field(
        "sum", description="eq. 2 and eq. 4 over the levels; the paper's code takes the mean"
    )
    commitment: Literal["all", "first"] = Field(
        "all",
        description="the levels whose commitment, eq. 2, moves the encoder; the paper's code: the "
        "first",
    )
    linear_path: bool = Field(
        True,
        description="encoder and decoder have a linear path beside the MLP; the paper's do not",
    )
    codes_from: float = Field(
        0.15,
        ge=0,
        le=1,
        description="share of the epochs before k-means makes codes of the latents; 0: at once, "
        "as in the paper",
    )
    revive_until: float = Field(
        0.75,
        ge=0,
        le=1,
        description="share of the epochs until which codes without items are revived; 0: never, "
        "as in the paper",
    )
    selection: Literal["score", "collisions"] = Field(
        "score",
        description="the weights that are kept: by reconstruction, use of codes and collisions, "
        "or by collisions alone, as in the paper's code",
    )
    training: TrainingSettings = TrainingSettings(epochs=30, batch_size=1024, learning_rate=2e-3)

    @property
    def capacity(self) -> int | None:
        """How many identifiers there are; None where there are as many as items need."""
        return int(self.codes**self.levels)

    @property
    def cf_dim(self) -> int | None:
        """The width that CF embeddings must have, since eq. 3 compares them with codes; None where
        any will do.
        """
        return self.dim if self.alpha > 0 else None


class RQKMeansSettings(Section):
    """Residual k-means on the content embeddings."""

    name: Literal["rqkmeans"] = "rqkmeans"
    levels: int = Field(4, ge=1, description="codes per identifier")
    codes: int = Field(256, ge=2, description="codes per level")
    balanced: bool = Field(False, description="equal cluster sizes (constrained k-means)")
    cf_dim: ClassVar[None] = None  # CF embeddings are not compared with anything
    training: ClassVar[None] = None  # there is no network

    @property
    def capacity(self) -> int | None:
        """How many identifiers there are."""
        return int(self.codes**self.levels)


class P5SemIdSettings(Section):
    """P5-SemID: an item's categories, the widest first, and its number among their items."""

    name: Literal["p5-semid"] = "p5-semid"
    levels: int = Field(
        5, ge=2, description="codes per identifier at most: categories, then the item's number"
    )
    order: Literal["auto", "given", "frequency"] = Field(
        "auto",
        description="of an item's categories; 'given': the data name the widest first; "
        "'frequency': they are a set, and those of most items come first; 'auto': 'given' where "
        "each category mostly has the same one before it",
    )
    cf_dim: ClassVar[None] = None
    training: ClassVar[None] = None
    capacity: ClassVar[None] = None


class P5CidSettings(Section):
    """P5-CID: clusters of items that are used together, divided again and again, and numbers."""

    name: Literal["p5-cid"] = "p5-cid"
    clusters: int = Field(20, ge=2, description="parts that a group of items is divided into")
    leaf: int = Field(
        100, ge=1, description="items of a group, at most, that are numbered instead of divided"
    )
    cf_dim: ClassVar[None] = None
    training: ClassVar[None] = None
    capacity: ClassVar[None] = None


TokenizerSettings = Annotated[
    LetterSettings | RQKMeansSettings | P5SemIdSettings | P5CidSettings,
    Field(discriminator="name"),
]


class IdentifierSettings(Section):
    """Codes -> one identifier per item."""

    source: Literal["learned", "given", "titles"] = Field(
        "learned",
        description="'learned': by the tokenizer; 'given': identifiers that came with the data, "
        "as they are; 'titles': the tokens of the items' titles",
    )


class RqtSettings(TransformerSettings, RecommenderSection):
    """A causal transformer over items and a shallow decoder over the next item's codes."""

    name: Literal["rqt"] = "rqt"
    dim: int = Field(128, ge=8, description="width of the network")
    layers: int = Field(2, ge=1, description="transformer layers over the history")
    heads: int = Field(2, ge=1, description="attention heads; they divide dim")
    depth_layers: int = Field(2, ge=1, description="blocks per level of the code decoder")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of activations dropped in training")
    use_content: bool = Field(True, description="add the content vector to each history item")
    item_embedding: bool = Field(True, description="add a learned, droppable item embedding")
    temperature: float = Field(
        1.0, gt=0, description="tau of eq. 6; below 1, likely wrong codes cost more"
    )
    item_weight: float = Field(
        1.0,
        ge=0,
        description="weight of a softmax over items in the loss; 0, or over 100,000 items: none",
    )
    item_share: float = Field(
        0.8, ge=0, lt=1, description="share of the probability that the softmax over items has"
    )


class TigerSettings(RecommenderSection):
    """T5 encoder-decoder over code tokens, the paper's LETTER-TIGER."""

    name: Literal["tiger"] = "tiger"
    dim: int = Field(128, ge=8, description="width of the network, d_model of T5")
    layers: int = Field(4, ge=1, description="in the encoder and in the decoder")
    heads: int = Field(6, ge=1, description="attention heads")
    head_dim: int = Field(64, ge=1, description="width of a head, d_kv of T5")
    feed_forward: int = Field(
        1024, ge=1, description="width of the feed-forward layers, d_ff of T5"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share of activations dropped in training")
    temperature: float = Field(
        1.0, gt=0, description="tau of eq. 6; below 1, likely wrong codes cost more"
    )


class TaskSettings(Section):
    """How often each of LC-Rec's tasks is drawn in training, relative to the others."""

    seqrec: float = Field(1.0, ge=0, description="identifiers of the history -> the next item")
    item2index: float = Field(0.0, ge=0, description="title or description -> identifier")
    index2item: float = Field(0.0, ge=0, description="identifier -> title")
    titled: float = Field(0.0, ge=0, description="history and its latest title -> the next item")
    described: float = Field(0.0, ge=0, description="history, latest described -> the next item")
    index2title: float = Field(0.0, ge=0, description="history -> title of the next item")
    titles2index: float = Field(0.0, ge=0, description="titles of the history -> the next item")
    query: float = Field(0.0, ge=0, description="a wish in words -> the item")
    preference: float = Field(0.0, ge=0, description="history -> what the user likes, in words")

    @model_validator(mode="after")
    def _some_predict(self) -> Self:
        if not any(self.model_dump().values()):
            raise ValueError("all weights are 0; give at least one task a weight above 0")
        return self


class LcRecSettings(RecommenderSection):
    """A causal language model that reads and writes identifiers, the paper's LETTER-LC-Rec."""

    name: Literal["lcrec"] = "lcrec"
    model: str = Field(
        "smollm2",
        description="'smollm2' (packaged, offline), a folder, a GGUF file or a name on the Hub",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the model's own weights; auto: bfloat16 where that is fast"
    )
    rank: int = Field(8, ge=1, description="rank of LoRA")
    alpha: int = Field(16, ge=1, description="scale of LoRA, which counts alpha / rank times")
    dropout: float = Field(0.05, ge=0, lt=1, description="dropout of LoRA")
    train_codes: bool = Field(True, description="train the codes' embedding and output rows")
    loss_on: Literal["answer", "text"] = Field(
        "answer", description="what carries loss; 'text': the whole prompt, as in the paper's run"
    )
    gradient_checkpointing: bool = Field(False, description="less memory for more time")
    grounding: bool = Field(
        False,
        description="with identifiers.source = 'titles': write a title freely and rank items by "
        "the distance of theirs (BIGRec), instead of searching the trie",
    )
    popularity: float = Field(
        0.0, ge=0, description="gamma of BIGRec: how much popularity counts in that distance"
    )
    tasks: TaskSettings = TaskSettings()
    temperature: float = Field(
        1.0, gt=0, description="tau of eq. 6; below 1, likely wrong codes cost more"
    )

    @property
    def text_model(self) -> str:
        """The language model."""
        return self.model


RecommenderSettings = Annotated[
    RqtSettings
    | TigerSettings
    | LcRecSettings
    | MfSettings
    | CaserSettings
    | HgnSettings
    | Bert4RecSettings
    | LightGcnSettings
    | SasRecSettings
    | EaseSettings
    | SlistSettings
    | PopularitySettings,
    Field(discriminator="name"),
]


class TransitionSettings(Section):
    """Which item speaks for which as the next one, learned by a ridge regression and mixed into the
    recommender's probabilities; how much it counts is chosen on the validation split.
    """

    enabled: bool = Field(True, description="off: the recommender alone, as in the paper")
    window: int = Field(20, ge=2, description="items so many places apart do not count together")
    backwards: float = Field(
        0.5, ge=0, description="weight of what came before, relative to what came after"
    )
    ridge: float = Field(
        100.0, gt=0, description="how often an item is used until half of what it says counts"
    )
    neighbours: int = Field(
        200, ge=1, description="items that predict an item, in catalogues of more than 4,096"
    )


LARGEST_CUT = 1000  # beams of a wider search do not fit the memory
MetricName = Literal["recall", "ndcg", "mrr", "hit_rate"]


class EvaluationSettings(Section):
    """Full ranking by beam search."""

    beam: int = Field(20, ge=1, description="prefixes kept per level by beam search")
    batch_size: int = Field(256, ge=1, description="histories ranked at a time")
    criterion: Literal["ndcg@10", "recall@10"] = Field(
        "ndcg@10", description="what selects the weights, on the validation split"
    )
    every: int = Field(1, ge=1, description="epochs between validations")
    users: int = Field(5000, ge=1, description="validation users during training, at most")
    cuts: tuple[int, ...] = Field(
        (5, 10),
        description="k of Recall@k and the others, beside 5 and 10; one above the beam widens it",
    )
    metrics: tuple[MetricName, ...] = Field(
        ("recall", "ndcg"),
        description="what is measured beside Recall and NDCG; with one held-out item a user, the "
        "hit rate is Recall",
    )
    test_users: int | None = Field(
        None,
        ge=1,
        description="users measured at the end, at most: a sample, the same in every run of the "
        "same data; unset: all",
    )

    @model_validator(mode="after")
    def _cuts_are_places(self) -> Self:
        if any(not 1 <= k <= LARGEST_CUT for k in self.cuts):
            raise ValueError(f"cuts = {list(self.cuts)}: expected numbers from 1 to {LARGEST_CUT}")
        return self


class Settings(Section):
    """Everything that decides a run."""

    seed: int = Field(
        0, ge=0, description="decides initial weights, order of batches, dropout and samples"
    )
    data: DataSettings = DataSettings()
    content: ContentSettings = ContentSettings()
    collaborative: CollaborativeSettings = CollaborativeSettings()
    tokenizer: TokenizerSettings = LetterSettings()
    identifiers: IdentifierSettings = IdentifierSettings()
    recommender: RecommenderSettings = RqtSettings()
    training: TrainingSettings = TrainingSettings()
    transitions: TransitionSettings = TransitionSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _ids_have_vectors(self) -> Self:
        cf = self.collaborative
        if cf.source in ("train", "given") and (cf.ids is not None or cf.order == "rows"):
            raise ValueError(
                f"collaborative.ids and collaborative.order are of a file of vectors; "
                f"collaborative.source = {cf.source!r} is none"
            )
        return self

    @model_validator(mode="after")
    def _dims_agree(self) -> Self:
        wanted, there = self.tokenizer.cf_dim, self.collaborative.dim
        if self.collaborative.source == "train" and wanted not in (None, there):
            raise ValueError(
                f"tokenizer.dim = {wanted} but collaborative.dim = {there}: eq. 3 compares the "
                "two, so they must be equal (or tokenizer.alpha = 0)"
            )
        return self

    @model_validator(mode="after")
    def _grounding_has_titles(self) -> Self:
        if not isinstance(self.recommender, LcRecSettings) or not self.recommender.grounding:
            return self
        if self.identifiers.source != "titles":
            raise ValueError(
                "recommender.grounding compares titles: set identifiers.source = 'titles'"
            )
        if self.transitions.enabled:
            raise ValueError(
                "recommender.grounding gives distances, and transitions are mixed into "
                "probabilities: set transitions.enabled = false"
            )
        return self

    def __repr__(self) -> str:
        plain = dict(leaves(Settings().model_dump()))
        there = dict(leaves(self.model_dump()))
        changed = [f"{'.'.join(k)}={v!r}" for k, v in there.items() if plain.get(k) != v]
        more = f", and {len(changed) - 6} more" if len(changed) > 6 else ""
        return f"Settings({', '.join(changed[:6])}{more})"

    __str__ = __repr__

    def to_toml(self) -> str:
        """All settings as TOML; settings that are unset are left out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def leaves(table: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], object]]:
    """The keys of every value in nested tables, and the value."""
    for key, value in table.items():
        if not isinstance(key, str):
            raise SettingsError(f"setting {key!r}: expected a name, as in 'training.epochs'")
        if isinstance(value, Mapping):
            yield from (((key, *keys), leaf) for keys, leaf in leaves(value))
        else:
            yield (key,), fspath(value) if isinstance(value, PathLike) else value
