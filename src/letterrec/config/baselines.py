"""Settings of the baselines: recommenders that score all items, without identifiers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from letterrec.config.section import Dropout, RecommenderSection, TransformerSettings

KnownUsers = Annotated[
    bool,
    Field(
        description="rank for a user of the training data by what was learned of him, and not by "
        "the history alone"
    ),
]
FactorLoss = Annotated[
    Literal["softmax", "bpr"],
    Field(description="over the whole catalogue, or against one sampled item (BPR)"),
]


class PopularitySettings(RecommenderSection):
    """The items most frequent in training, for everyone."""

    name: Literal["popularity"] = "popularity"


class MfSettings(RecommenderSection):
    """Matrix factorization, trained to rank (as BPR-MF, UAI'09)."""

    name: Literal["mf"] = "mf"
    dim: int = Field(64, ge=1, description="width of the factors of users and items")
    loss: FactorLoss = "bpr"
    dropout: float = Field(0.0, ge=0, lt=1, description="share of factors dropped in training")
    penalty: float = Field(
        0.05, ge=0, description="weight of the squared factors of a batch in the loss"
    )
    known_users: KnownUsers = False


class LightGcnSettings(RecommenderSection):
    """Light graph convolution over users and items (SIGIR'20)."""

    name: Literal["lightgcn"] = "lightgcn"
    dim: int = Field(64, ge=1, description="width of the embeddings of users and items")
    layers: int = Field(3, ge=0, description="steps through the graph; 0 is plain factorization")
    loss: FactorLoss = "bpr"
    dropout: float = Field(0.0, ge=0, lt=1, description="share of factors dropped in training")
    penalty: float = Field(
        1e-4, ge=0, description="weight of the squared embeddings of a batch in the loss"
    )
    known_users: KnownUsers = False


class CaserSettings(RecommenderSection):
    """Convolutions over the latest items of a history (WSDM'18)."""

    name: Literal["caser"] = "caser"
    dim: int = Field(64, ge=1, description="width of the embeddings of users and items")
    window: int = Field(5, ge=1, description="L, latest items of a history that are read")
    horizontal: int = Field(16, ge=1, description="filters of each height from 1 to the window")
    vertical: int = Field(4, ge=1, description="filters over each embedding dimension")
    dropout: Dropout = 0.5
    known_users: KnownUsers = False


class HgnSettings(RecommenderSection):
    """Gates over the dimensions and the items of the latest history (KDD'19)."""

    name: Literal["hgn"] = "hgn"
    dim: int = Field(64, ge=1, description="width of the embeddings of users and items")
    window: int = Field(5, ge=1, description="L, latest items of a history that are read")
    dropout: Dropout = 0.5
    known_users: KnownUsers = False


class Bert4RecSettings(TransformerSettings, RecommenderSection):
    """A bidirectional transformer that fills in masked items (CIKM'19)."""

    name: Literal["bert4rec"] = "bert4rec"
    dim: int = Field(64, ge=2, description="width of items, positions and blocks")
    layers: int = Field(2, ge=1, description="transformer layers")
    dropout: Dropout = 0.2
    masked: float = Field(
        0.2, gt=0, lt=1, description="share of a sequence's items that are to be filled in"
    )
    last: float = Field(
        0.2, ge=0, le=1, description="share of the sequences of which the last item alone is masked"
    )


class SasRecSettings(TransformerSettings, RecommenderSection):
    """A causal transformer over items with full cross-entropy (SASRec, ICDM'18)."""

    name: Literal["sasrec"] = "sasrec"
    dim: int = Field(64, ge=2, description="width of items, positions and blocks")
    layers: int = Field(2, ge=1, description="transformer layers")
    dropout: Dropout = 0.5
    norm_first: bool = Field(
        False, description="normalize what layers read, instead of what they are added to"
    )


class EaseSettings(RecommenderSection):
    """A linear model from items to items in closed form (EASE, WWW'19)."""

    name: Literal["ease"] = "ease"
    ridge: float = Field(
        500.0, gt=0, description="lambda, weight of the squared weights: less for more data"
    )


class SlistSettings(RecommenderSection):
    """A linear model from what came before to what comes later, in closed form (SLIST, WWW'21)."""

    name: Literal["slist"] = "slist"
    ridge: float = Field(
        150.0, gt=0, description="lambda, weight of the squared weights: less for more data"
    )
    decay: float = Field(
        0.85, gt=0, le=1, description="how much an item before counts, relative to the one after it"
    )
    ahead: float = Field(
        0.5, ge=0, le=1, description="how much an item later counts, relative to the one before it"
    )


BaselineSettings = (
    MfSettings
    | CaserSettings
    | HgnSettings
    | Bert4RecSettings
    | LightGcnSettings
    | SasRecSettings
    | EaseSettings
    | SlistSettings
    | PopularitySettings
)
