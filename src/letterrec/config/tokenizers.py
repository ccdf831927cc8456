"""Settings of the tokenizers: content and CF embeddings, categories or histories -> codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field

from letterrec.config.section import Section, TrainingSettings

_LEVELS, _CODES = 4, 256  # as in the paper
_SMALL = 1024  # items, from which on all codes are of use
_LARGE = 2**24  # items, from which on there is another level
_ROOM = 4  # identifiers per item, at least


class CodeSpace(NamedTuple):
    """How many identifiers there are: ``codes ** levels``."""

    levels: int
    codes: int

    @property
    def capacity(self) -> int:
        """The number of identifiers."""
        return int(self.codes**self.levels)


def code_space(n_items: int, levels: int | None = None, codes: int | None = None) -> CodeSpace:
    """Levels and codes for a catalogue, where they are not given.

    Four levels of 256 codes, as in the paper, serve from a thousand to 17 million items: a small
    catalogue has a code for every four items, a larger one a fifth level. Beside a number that is
    given, the other one leaves room for four times the items.

    Args:
        n_items: in the catalogue.
        levels: given ones.
        codes: given ones.

    >>> code_space(10), code_space(12_101).capacity == 256**4
    (CodeSpace(levels=4, codes=8), True)
    >>> code_space(10**8), code_space(10**6, levels=2)
    (CodeSpace(levels=5, codes=256), CodeSpace(levels=2, codes=2048))
    """
    if codes is None:
        found = _CODES
        if n_items < _SMALL:
            found = max(8, 1 << (-(-n_items // 4) - 1).bit_length())
        while levels is not None and found**levels < _ROOM * n_items and found < 2**16:
            found *= 2
    else:
        found = codes
    if levels is None:
        levels = _LEVELS + (n_items > _LARGE)
        while found**levels < _ROOM * n_items:
            levels += 1
    return CodeSpace(levels, found)


class TokenizerTrainingSettings(TrainingSettings):
    """How a tokenizer is trained."""

    usual: ClassVar[Mapping[str, int]] = {"epochs": 30, "batch_size": 1024}
    most: ClassVar[int] = 2**23


class LetterSettings(Section):
    """The LETTER tokenizer (section 4.2); alpha = beta = 0 is TIGER's RQ-VAE."""

    usual: ClassVar[Mapping[str, int]] = {"levels": _LEVELS, "codes": _CODES}

    name: Literal["letter"] = "letter"
    levels: int | None = Field(
        None, ge=1, description="L, codes per identifier; unset: 4, or more for many items"
    )
    codes: int | None = Field(
        None,
        ge=2,
        description="N, codes per level; unset: 256, or fewer for less than 1,024 items",
    )
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
    training: TokenizerTrainingSettings = TokenizerTrainingSettings(learning_rate=2e-3)

    def code_space(self, n_items: int) -> CodeSpace:
        """The levels and codes of a catalogue."""
        return code_space(n_items, self.levels, self.codes)

    @property
    def cf_dim(self) -> int | None:
        """The width that CF embeddings must have, since eq. 3 compares them with codes; None where
        any will do.
        """
        return self.dim if self.alpha > 0 else None


class RQKMeansSettings(Section):
    """Residual k-means on the content embeddings."""

    usual: ClassVar[Mapping[str, int]] = {"levels": _LEVELS, "codes": _CODES}

    name: Literal["rqkmeans"] = "rqkmeans"
    levels: int | None = Field(
        None, ge=1, description="codes per identifier; unset: 4, or more for many items"
    )
    codes: int | None = Field(
        None, ge=2, description="codes per level; unset: 256, or fewer for less than 1,024 items"
    )
    balanced: bool = Field(False, description="equal cluster sizes (constrained k-means)")
    cf_dim: ClassVar[None] = None  # CF embeddings are not compared with anything
    training: ClassVar[None] = None  # there is no network

    def code_space(self, n_items: int) -> CodeSpace:
        """The levels and codes of a catalogue."""
        return code_space(n_items, self.levels, self.codes)


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

    def code_space(self, n_items: int) -> None:
        """None: there are as many identifiers as items need."""


class P5CidSettings(Section):
    """P5-CID: clusters of items that are used together, divided again and again, and numbers."""

    name: Literal["p5-cid"] = "p5-cid"
    clusters: int = Field(20, ge=2, description="parts that a group of items is divided into")
    leaf: int = Field(
        100, ge=1, description="items of a group, at most, that are numbered instead of divided"
    )
    cf_dim: ClassVar[None] = None
    training: ClassVar[None] = None

    def code_space(self, n_items: int) -> None:
        """None: there are as many identifiers as items need."""


TokenizerSettings = Annotated[
    LetterSettings | RQKMeansSettings | P5SemIdSettings | P5CidSettings,
    Field(discriminator="name"),
]
