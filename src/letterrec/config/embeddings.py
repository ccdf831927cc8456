"""Settings of the embeddings: content of items' texts, CF of interactions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from letterrec.config.keywords import Encoding
from letterrec.config.section import Dropout, Section, TrainingSettings, TransformerSettings

_OF_TEXTS = ("auto", "text", "collaborative")  # sources of content embeddings that are no file


class ContentSettings(Section):
    """Item texts, or vectors of your own -> content embeddings."""

    source: str = Field(
        "auto",
        description="'auto': the text, or the CF embeddings where items have no text; 'text'; "
        "'collaborative'; or a file of vectors with their ids, of images for example",
    )
    ids: str | None = Field(
        None, description="file of the vectors' item ids, where they do not bring their own"
    )
    order: Literal["ids", "rows"] = Field(
        "ids", description="rows: vectors without ids are in the order of the run's items"
    )
    encoder: str = Field(
        "minilm",
        description="'minilm' (packaged, offline, English); 'multilingual' (offline, sixteen "
        "languages, extra `multilingual`); or a model's name or folder, such as "
        "'intfloat/multilingual-e5-small'",
    )
    batch_size: int = Field(64, ge=1, description="texts encoded at a time")
    max_tokens: int = Field(128, ge=8, description="text beyond this is cut")

    @model_validator(mode="after")
    def _ids_have_vectors(self) -> Self:
        if not self.is_file and (self.ids is not None or self.order == "rows"):
            raise ValueError(
                "content.ids and content.order are of a file of vectors; "
                f"content.source = {self.source!r} is none"
            )
        return self

    @property
    def is_file(self) -> bool:
        """Whether the embeddings are vectors in a file, and no encoder makes them."""
        return self.source not in _OF_TEXTS

    @property
    def maker(self) -> str:
        """What the embeddings are from: an encoder or a file."""
        return self.source if self.is_file else self.encoder

    def encoding(self) -> Encoding:
        """How texts are encoded, as keyword arguments of `embeddings.content.embed`."""
        return Encoding(
            encoder=self.encoder, batch_size=self.batch_size, max_tokens=self.max_tokens
        )


class CfTrainingSettings(TrainingSettings):
    """How SASRec is trained."""

    usual: ClassVar[Mapping[str, int]] = {"epochs": 14, "batch_size": 256}


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
    dropout: Dropout = 0.2
    norm_first: bool = Field(
        True, description="normalize what layers read, instead of what they are added to"
    )
    training: CfTrainingSettings = CfTrainingSettings(learning_rate=4e-3)
