"""What all sections of settings are: frozen, without unknown keys, changed one key at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from letterrec.config.keywords import Schedule, Training

Dropout = Annotated[
    float, Field(ge=0, lt=1, description="share of activations dropped in training")
]


class Section(BaseModel):
    """A table of settings; unknown keys are refused, values cannot be changed.

    A key given for a nested section changes only that key: the others keep the defaults that this
    section has for them, which may differ from those of the nested class.
    """

    usual: ClassVar[Mapping[str, int]] = {}  # what unset keys mean where data are not large

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
        """This section's values, overridden by those given.

        If ``given`` names another kind (``name``), only those given: each kind has its own
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

    def plain(self) -> dict[str, Any]:
        """All values as nested dicts, unset ones as what they usually mean."""
        return {
            key: value.plain()
            if isinstance(value, Section)
            else self.usual.get(key)
            if value is None
            else value
            for key, value in self
        }


class TrainingSettings(Section):
    """How a network is trained; one loop serves all of them."""

    usual: ClassVar[Mapping[str, int]] = {"epochs": 16, "batch_size": 256}
    largest_batch: ClassVar[int] = 1024
    most: ClassVar[int] = 2**22  # sequences (or items) of all epochs, where these are unset

    epochs: int | None = Field(
        None,
        ge=1,
        description="passes over the training data, at most; unset: 16 (CF embeddings: 14, "
        "tokenizer: 30), and fewer, down to a part of one, where they would have more than 4 "
        "million sequences (tokenizer: 8 million items)",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        description="sequences (or items) per step; unset: 256 (tokenizer: 1,024), and up to 1,024 "
        "where an epoch would have more than 1,024 steps",
    )
    learning_rate: float = Field(
        2e-3,
        gt=0,
        description="highest learning rate of AdamW; it rises during warm-up",
    )
    schedule: Schedule = Field(
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

    @property
    def passes(self) -> int:
        """``epochs``, or as many as there are where it is unset and the data are not large."""
        return self.usual["epochs"] if self.epochs is None else self.epochs

    def options(self) -> Training:
        """These settings as keyword arguments of `TrainingOptions`."""
        return {
            "epochs": self.passes,
            "batch_size": self.batch_size or self.usual["batch_size"],
            "most": self.most if self.epochs is None else None,
            "largest_batch": self.largest_batch if self.batch_size is None else None,
            "learning_rate": self.learning_rate,
            "schedule": self.schedule,
            "weight_decay": self.weight_decay,
            "warmup": self.warmup,
            "clip": self.clip,
            "patience": self.patience,
        }


class RecommenderSection(Section):
    """A recommender."""

    @property
    def text_model(self) -> str | None:
        """The model in whose tokens titles are spelled where they are identifiers; None where it
        knows no words.
        """
        return None

    @property
    def grounds(self) -> bool:
        """Whether titles are written freely and items ranked by the distance of theirs."""
        return False


class TransformerSettings(Section):
    """The shape of a causal transformer."""

    dim: int
    heads: int = Field(2, ge=1, description="attention heads; they divide dim")

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim = {self.dim} is not a multiple of heads = {self.heads}")
        return self
