"""Every setting of a run: its type, default and meaning. Frozen, and written as TOML.

`loading` makes them from a recipe and what is changed of it. The paper's settings (section 5.4)
are the recipe ``paper-letter-tiger``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from typing import Annotated, Any, ClassVar, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, model_validator

from letterrec.errors import SettingsError


class Section(BaseModel):
    """A table of settings; unknown keys are refused, values cannot be changed.

    A key that is given in a section within this one changes that key and nothing else: the others
    keep the values that they have here, which may differ from those of the inner class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _keep_what_is_not_given(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        filled = dict(values)
        for name, field in cls.model_fields.items():
            if isinstance(field.default, Section) and isinstance(values.get(name), dict):
                filled[name] = field.default.overlaid(values[name])
        return filled

    def overlaid(self, given: dict[str, Any]) -> dict[str, Any]:
        """This section's values with those given in their place.

        Where ``given`` names another kind (``name``), only what is given: the two have their own
        defaults.
        """
        values = dict(self)
        if given.get("name", values.get("name")) != values.get("name"):
            return given
        for key, value in given.items():
            inner = values.get(key)
            if isinstance(inner, Section) and isinstance(value, dict):
                value = inner.overlaid(value)
            values[key] = value
        return values


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


class TransformerSettings(Section):
    """The shape of a causal transformer."""

    dim: int
    heads: int

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim = {self.dim} is not a multiple of heads = {self.heads}")
        return self


Role = Literal["user", "item", "timestamp", "rating", "title", "preference"]  # of a column
Order = Literal["time", "rows"]


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
    max_history: int = Field(20, ge=1, description="latest items of a history that are used")
    cold_share: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="share of the items held out of training, to measure how new items do "
        "(evaluate --cold)",
    )

    def reading(self) -> dict[str, Any]:
        """What `letterrec.read` takes of these."""
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
    training: TrainingSettings = TrainingSettings(epochs=30, batch_size=1024, learning_rate=2e-3)


class RQKMeansSettings(Section):
    """Residual k-means on the content embeddings."""

    name: Literal["rqkmeans"] = "rqkmeans"
    levels: int = Field(4, ge=1, description="codes per identifier")
    codes: int = Field(256, ge=2, description="codes per level")
    balanced: bool = Field(False, description="equal cluster sizes (constrained k-means)")
    training: ClassVar[None] = None  # there is no network


TokenizerSettings = Annotated[LetterSettings | RQKMeansSettings, Field(discriminator="name")]


class IdentifierSettings(Section):
    """Codes -> one identifier per item."""

    source: Literal["learned", "given", "titles"] = Field(
        "learned",
        description="'learned': by the tokenizer; 'given': identifiers that came with the data, "
        "as they are; 'titles': the tokens of the items' titles",
    )


class RqtSettings(TransformerSettings):
    """A causal transformer over items and a shallow decoder over the next item's codes."""

    name: Literal["rqt"] = "rqt"
    dim: int = Field(128, ge=8, description="width of the network")
    layers: int = Field(2, ge=1, description="transformer layers over the history")
    heads: int = Field(2, ge=1, description="attention heads; they divide dim")
    depth_layers: int = Field(2, ge=1, description="blocks per level of the code decoder")
    dropout: float = Field(0.15, ge=0, lt=1, description="share of activations dropped in training")
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
        0.5, ge=0, lt=1, description="share of the probability that the softmax over items has"
    )


class TigerSettings(Section):
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


class LcRecSettings(Section):
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
    gradient_checkpointing: bool = Field(False, description="less memory for more time")
    tasks: TaskSettings = TaskSettings()
    temperature: float = Field(
        1.0, gt=0, description="tau of eq. 6; below 1, likely wrong codes cost more"
    )


RecommenderSettings = Annotated[
    RqtSettings | TigerSettings | LcRecSettings, Field(discriminator="name")
]


class TransitionSettings(Section):
    """Which item follows which in training, mixed into the recommender's probabilities; how much
    it counts is chosen on the validation split.
    """

    enabled: bool = Field(True, description="off: the recommender alone, as in the paper")
    steps: int = Field(3, ge=1, description="followers up to so many items later are counted")
    backwards: float = Field(
        0.3, ge=0, description="weight of what came before, relative to what came after"
    )


class EvaluationSettings(Section):
    """Full ranking by beam search."""

    beam: int = Field(20, ge=1, description="prefixes kept per level by beam search")
    batch_size: int = Field(256, ge=1, description="histories ranked at a time")
    criterion: Literal["ndcg@10", "recall@10"] = Field(
        "ndcg@10", description="what selects the weights, on the validation split"
    )
    every: int = Field(1, ge=1, description="epochs between validations")
    users: int = Field(5000, ge=1, description="validation users during training, at most")


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
        if isinstance(self.tokenizer, LetterSettings) and self.tokenizer.alpha > 0:
            wanted, there = self.tokenizer.dim, self.collaborative.dim
            if self.collaborative.source == "train" and wanted != there:
                raise ValueError(
                    f"tokenizer.dim = {wanted} but collaborative.dim = {there}: eq. 3 compares the "
                    "two, so they must be equal (or tokenizer.alpha = 0)"
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
