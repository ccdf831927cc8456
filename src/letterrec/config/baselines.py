"""Settings of the baselines: recommenders that score all items, without identifiers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from letterrec.config.section import Section, TransformerSettings


class PopularitySettings(Section):
    """The items most frequent in training, for everyone."""

    name: Literal["popularity"] = "popularity"


class MfSettings(Section):
    """Matrix factorization, trained to rank (BPR-MF, UAI'09)."""

    name: Literal["mf"] = "mf"
    dim: int = Field(64, ge=1, description="width of the factors of users and items")
    penalty: float = Field(
        0.01, ge=0, description="weight of the squared factors of a batch in the loss"
    )


class LightGcnSettings(Section):
    """Light graph convolution over users and items (SIGIR'20)."""

    name: Literal["lightgcn"] = "lightgcn"
    dim: int = Field(64, ge=1, description="width of the embeddings of users and items")
    layers: int = Field(3, ge=0, description="steps through the graph; 0 is plain factorization")
    penalty: float = Field(
        1e-4, ge=0, description="weight of the squared embeddings of a batch in the loss"
    )


class CaserSettings(Section):
    """Convolutions over the latest items of a history (WSDM'18)."""

    name: Literal["caser"] = "caser"
    dim: int = Field(64, ge=1, description="width of the embeddings of users and items")
    window: int = Field(5, ge=1, description="L, latest items of a history that are read")
    horizontal: int = Field(16, ge=1, description="filters of each height from 1 to the window")
    vertical: int = Field(4, ge=1, description="filters over each embedding dimension")
    dropout: float = Field(0.5, ge=0, lt=1, description="share of activations dropped in training")


class HgnSettings(Section):
    """Gates over the dimensions and the items of the latest history (KDD'19)."""

    name: Literal["hgn"] = "hgn"
    dim: int = Field(64, ge=1, description="width of the embeddings of users and items")
    window: int = Field(5, ge=1, description="L, latest items of a history that are read")
    dropout: float = Field(0.5, ge=0, lt=1, description="share of activations dropped in training")


class Bert4RecSettings(TransformerSettings):
    """A bidirectional transformer that fills in masked items (CIKM'19)."""

    name: Literal["bert4rec"] = "bert4rec"
    dim: int = Field(64, ge=2, description="width of items, positions and blocks")
    layers: int = Field(2, ge=1, description="transformer layers")
    heads: int = Field(2, ge=1, description="attention heads; they divide dim")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of activations dropped in training")
    masked: float = Field(
        0.2, gt=0, lt=1, description="share of a sequence's items that are to be filled in"
    )
    last: float = Field(
        0.2, ge=0, le=1, description="share of the sequences of which the last item alone is masked"
    )


class SasRecSettings(TransformerSettings):
    """A causal transformer over items with full cross-entropy (SASRec, ICDM'18)."""

    name: Literal["sasrec"] = "sasrec"
    dim: int = Field(64, ge=2, description="width of items, positions and blocks")
    layers: int = Field(2, ge=1, description="transformer layers")
    heads: int = Field(2, ge=1, description="attention heads; they divide dim")
    dropout: float = Field(0.5, ge=0, lt=1, description="share of activations dropped in training")


class EaseSettings(Section):
    """A linear model from items to items in closed form (EASE, WWW'19)."""

    name: Literal["ease"] = "ease"
    penalty: float = Field(
        500.0, gt=0, description="lambda, weight of the squared weights: more for fewer data"
    )
