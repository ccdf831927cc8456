"""What all sections of settings are: frozen, without unknown keys, changed one key at a time."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A table of settings; unknown keys are refused, values cannot be changed.

    A key given for a nested section changes only that key: the others keep the defaults that this
    section has for them, which may differ from those of the nested class.
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


class RecommenderSection(Section):
    """A recommender."""

    @property
    def text_model(self) -> str | None:
        """The model in whose tokens titles are spelled where they are identifiers; None where it
        knows no words.
        """
        return None


class TransformerSettings(Section):
    """The shape of a causal transformer."""

    dim: int
    heads: int

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim = {self.dim} is not a multiple of heads = {self.heads}")
        return self
