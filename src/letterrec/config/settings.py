"""Settings: frozen, typed, and written as TOML; an unknown key is an error.

A recipe is a TOML file in `recipes/`, holding what differs from the defaults below. The paper's
settings (section 5.4) are the recipe ``paper-letter-tiger``.
"""

from __future__ import annotations

import reprlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from letterrec.errors import SettingsError

_WORDS = {  # how a kind of error of pydantic begins -> what was expected
    "model": "a section, not a value: give section.key=value",
    "dict": "a section, not a value: give section.key=value",
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "tuple": "a list",
}
_RETIRED = {  # settings of earlier versions, section.key -> why there is nothing to set any more
    f"identifiers.sinkhorn_{key}": "the assignment of free codes to colliding items is exact now"
    for key in ("epsilon", "iterations")
}


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
        description="highest learning rate of AdamW; it rises during warm-up, then falls to zero",
    )
    weight_decay: float = Field(0.01, ge=0, description="of AdamW, for weight matrices")
    warmup: float = Field(
        0.05, ge=0, le=1, description="share of the steps in which the rate rises"
    )
    clip: float = Field(
        1.0, gt=0, description="largest norm of the gradient; a longer one is scaled down"
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


def recipes() -> list[str]:
    """Names of the shipped recipes."""
    folder = resources.files("letterrec.config") / "recipes"
    return sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml"))


def describe_recipes() -> dict[str, str]:
    """Recipe -> the comment on its first line."""
    folder = resources.files("letterrec.config") / "recipes"
    texts = {name: (folder / f"{name}.toml").read_text("utf-8") for name in recipes()}
    return {name: text.partition("\n")[0].lstrip("# ") for name, text in texts.items()}


def load_settings(
    recipe: str | Path | None = None,
    overrides: Sequence[str] | Mapping[str, Any] | None = None,
) -> Settings:
    """Settings from a recipe and what is changed of it.

    An override changes what it names and nothing else, at any depth. Without a recipe,
    ``recommender.name=NAME`` among the overrides starts from the recipe NAME. With one, an override
    that names another tokenizer or recommender than the recipe keeps of the recipe's settings of
    that section those that the other has too.

    Args:
        recipe: a shipped name or a TOML file; None takes the default.
        overrides: ``"section.key=value"`` each, as the command line takes them, or a dict, nested
            (``{"training": {"epochs": 5}}``) or with dots (``{"training.epochs": 5}``).

    Raises:
        SettingsError: the recipe does not exist or is no TOML; a key is unknown; a value does
            not fit.
    """
    pairs = list(_pairs(overrides or []))
    names = {k[0]: v for k, v in pairs if len(k) == 2 and k[1] == "name"}
    values = _read_recipe(str(recipe if recipe is not None else names.get("recommender", "rqt")))
    for section, name in names.items():
        _change_kind(values, section, name)
    for keys, value in pairs:
        table = values
        for key in keys[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise SettingsError(f"--set {'.'.join(keys)}: {key!r} is a value, not a section")
        table[keys[-1]] = value
    return parse_settings(values)


def parse_settings(values: dict[str, Any]) -> Settings:
    """Validate a nested dict of settings; what is not given has its default."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def parse_kept_settings(values: dict[str, Any]) -> Settings:
    """Validate what a run folder keeps: settings of earlier versions that are retired are left out.

    Raises:
        SettingsError: as `parse_settings`.
    """
    kept = dict(values)
    for name in _RETIRED:
        section, key = name.split(".")
        if isinstance(kept.get(section), dict):
            kept[section] = {k: v for k, v in kept[section].items() if k != key}
    return parse_settings(kept)


def _pairs(overrides: Sequence[str] | Mapping[str, Any]) -> Iterator[tuple[list[str], Any]]:
    """The keys and the value of each override."""
    if isinstance(overrides, Mapping):
        for keys, value in leaves(overrides):
            yield [k for key in keys for k in key.split(".")], value
    elif isinstance(overrides, str) or not all(isinstance(o, str) for o in overrides):
        raise SettingsError(
            f"overrides = {overrides!r}: expected a list such as ['training.epochs=5'], or a dict"
        )
    else:
        for text in overrides:
            yield from _parse_override(text)


def leaves(table: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The keys of every value in nested tables, and the value."""
    for key, value in table.items():
        if not isinstance(key, str):
            raise SettingsError(f"setting {key!r}: expected a name, as in 'training.epochs'")
        if isinstance(value, Mapping):
            yield from (((key, *keys), leaf) for keys, leaf in leaves(value))
        else:
            yield (key,), fspath(value) if isinstance(value, PathLike) else value


def _parse_override(text: str) -> Iterator[tuple[list[str], Any]]:
    """The keys of a ``section.key=value`` and their value; an inline table names several."""
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise SettingsError(f"--set {text!r}: expected section.key=value, as in training.epochs=5")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw  # a bare word or a path
    except (ValueError, RecursionError):  # a number of too many digits, a table too deep
        raise SettingsError(f"--set {key}: {_short(raw)} cannot be a value") from None
    waiting = [([k.strip() for k in key.split(".")], value)]
    while waiting:
        keys, value = waiting.pop(0)
        if isinstance(value, dict):
            waiting += [([*keys, k], v) for k, v in value.items()]
        else:
            yield keys, value


def _read_recipe(name: str) -> dict[str, Any]:
    shipped = resources.files("letterrec.config") / "recipes" / f"{name}.toml"
    try:
        if name in recipes():
            return tomllib.loads(shipped.read_text("utf-8"))
        if Path(name).is_file():
            return tomllib.loads(Path(name).read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"recipe {name}: not valid TOML: {error}") from None
    except OSError as error:
        raise SettingsError(f"recipe {name} cannot be read: {error.strerror}") from None
    raise SettingsError(
        f"recipe {name!r}: neither a file nor one of the shipped recipes: {', '.join(recipes())}"
    )


def _change_kind(values: dict[str, Any], section: str, name: Any) -> None:
    """Leave out of a recipe's section what the kind with that name does not have."""
    kind = next((k for k in _kinds(section) if k.model_fields["name"].default == name), None)
    table = values.get(section)
    if kind is not None and isinstance(table, dict):
        values[section] = {key: v for key, v in table.items() if key in kind.model_fields}


def _kinds(section: str) -> list[type[Section]]:
    """The classes that a section chooses from by its ``name``; none where it is of one class."""
    field = Settings.model_fields.get(section)
    return list(get_args(field.annotation)) if field is not None and field.discriminator else []


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    section, *inside = first["loc"] or ("",)
    kind: type[BaseModel] | None = None
    if inside and (kinds := _kinds(str(section))):  # the name that chose the kind comes first
        kind = next(k for k in kinds if k.model_fields["name"].default == inside[0])
        inside = inside[1:]
    where = ".".join(str(p) for p in (section, *inside))
    if where in _RETIRED:
        return f"setting {where!r} is retired: {_RETIRED[where]}; leave it out"
    if first["type"] == "extra_forbidden":
        table = Settings if kind is None else kind
        for part in first["loc"][:-1] if kind is None else inside[:-1]:
            table = _class_of(table, str(part))
        level = "sections" if table is Settings else "settings of that section"
        known = ", ".join(table.model_fields)
        return f"setting {_short(where)} does not exist; {level}: {known}"
    if inside and inside[-1] == "[key]":
        return (
            f"setting {_short(where.removesuffix('.[key]'))} does not exist; "
            f"expected one of {first['ctx']['expected']}"
        )
    if first["type"] == "union_tag_invalid":
        tag, tags = first["ctx"]["tag"], first["ctx"]["expected_tags"]
        return f"setting '{where}.name' = {_short(tag)}: expected one of {tags}"
    if first["type"] == "value_error":
        return f"settings{f' of {where}' if where else ''}: {first['ctx']['error']}"
    return f"setting {where!r} = {_short(first['input'])}: expected {_expected(first)}"


def _expected(error: ErrorDetails) -> str:
    """What a value should have been, of an error of pydantic."""
    kind, message = error["type"], error["msg"].lower()
    for start, words in _WORDS.items():
        if kind.startswith(start):
            return words
    number = "a number " if kind.startswith(("greater", "less")) else ""
    return number + message.removeprefix("input should be ")


def _class_of(section: type[BaseModel], key: str) -> type[BaseModel]:
    inner = section.model_fields[key].annotation
    assert isinstance(inner, type)
    assert issubclass(inner, BaseModel)
    return inner


def _short(value: Any) -> str:
    """A value as it is written in an error, however long or deep."""
    shortener = reprlib.Repr()
    shortener.maxstring = shortener.maxother = shortener.maxlong = 120
    return shortener.repr(value)
