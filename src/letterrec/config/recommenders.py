"""Settings of the recommenders that spell identifiers, and the union of all recommenders."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from letterrec.config.baselines import BaselineSettings
from letterrec.config.section import Dropout, RecommenderSection, Section, TransformerSettings

Temperature = Annotated[
    float, Field(gt=0, description="tau of eq. 6; below 1, likely wrong codes cost more")
]


class RqtSettings(TransformerSettings, RecommenderSection):
    """A causal transformer over items and a shallow decoder over the next item's codes."""

    name: Literal["rqt"] = "rqt"
    dim: int = Field(128, ge=8, description="width of the network")
    layers: int = Field(2, ge=1, description="transformer layers over the history")
    depth_layers: int = Field(2, ge=1, description="blocks per level of the code decoder")
    dropout: Dropout = 0.3
    use_content: bool = Field(True, description="add the content vector to each history item")
    item_embedding: bool = Field(True, description="add a learned, droppable item embedding")
    temperature: Temperature = 1.0
    item_weight: float = Field(
        1.0,
        ge=0,
        description="weight of a softmax over items in the loss; 0, or over 100,000 items: none",
    )
    item_share: float = Field(
        0.8, ge=0, lt=1, description="share of the probability that the softmax over items has"
    )
    behaviour_weight: float = Field(
        0.2,
        ge=0,
        description="weight in the loss of predicting by which behaviour the next item comes, of "
        "several",
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
    dropout: Dropout = 0.1
    temperature: Temperature = 1.0


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
    temperature: Temperature = 1.0

    @property
    def text_model(self) -> str:
        """The language model."""
        return self.model

    @property
    def grounds(self) -> bool:
        """With ``grounding``."""
        return self.grounding


RecommenderSettings = Annotated[
    RqtSettings | TigerSettings | LcRecSettings | BaselineSettings,
    Field(discriminator="name"),
]
