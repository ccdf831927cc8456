"""The seam of tokenizers: what one is given, what it gives, and what all of them check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from letterrec.errors import RunError, SettingsError
from letterrec.files import read_json
from letterrec.training.options import TrainingOptions

Codes = NDArray[np.int32]
InputName = Literal["content", "cf", "categories", "cooccurrence"]  # of `Items`


@dataclass(frozen=True, eq=False)
class Items:
    """What a catalogue brings to a tokenizer, row by row.

    Attributes:
        content: float32 ``(n, d_content)`` content embeddings; ``(n, 0)`` where there are none.
        cf: float32 ``(n, d)`` CF embeddings; None for items that have none yet.
        categories: for each item its category and those above it, the widest first; None where
            the data have none.
        cooccurrence: float32 ``(n, n)``: how many training histories have both items. None for
            items that nobody has used yet, and where the tokenizer does not read it.
    """

    content: NDArray[np.float32]
    cf: NDArray[np.float32] | None = None
    categories: Sequence[Sequence[str]] | None = None
    cooccurrence: sp.csr_array | None = None

    def __len__(self) -> int:
        return len(self.content)


class Tokenizer(ABC):
    """Turns items into semantic IDs: one sequence of codes per item.

    A tokenizer is a subclass in a file of its own, an entry in `TOKENIZERS`, and its settings, a
    class in `config/tokenizers.py` that is named in `TokenizerSettings` there;
    `tests/contract_tokenizer.py` says what it must do.

    Attributes:
        name: in settings and in ``tokenizer.json``.
        reads: what it is fitted to. CF embeddings are trained only for a tokenizer that reads
            them; they stand in for content where items have no text.
    """

    name: ClassVar[str]
    reads: ClassVar[frozenset[InputName]] = frozenset({"content", "cf"})

    def __init__(self, **settings: object) -> None:
        """Take the tokenizer's own settings, as flat keywords, by a constructor that names them.

        Raises:
            TypeError: there are some that it does not name.
        """
        if settings:
            raise TypeError(f"{type(self).__name__} has no settings {', '.join(settings)}")

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, ...]:
        """Codes per level."""

    @property
    @abstractmethod
    def codebooks(self) -> NDArray[np.float32] | None:
        """float32 ``(levels, codes, d)``; None where codes are names and stand for no vectors."""

    @abstractmethod
    def fit(self, items: Items, options: TrainingOptions) -> Self:
        """Learn the codes of a catalogue.

        Args:
            items: of the catalogue.
            options: how a network is trained; a tokenizer without one reads the seed alone.

        Raises:
            SettingsError: what the tokenizer needs of the items is missing or does not fit.
        """

    @abstractmethod
    def quantize(self, items: Items) -> Codes:
        """int32 ``(n, levels)``: codes as they come (eq. 1); several items may share all of them.

        The items need not be those that were fitted.
        """

    @abstractmethod
    def codes_and_latents(self, items: Items) -> tuple[Codes, NDArray[np.float32] | None]:
        """The codes of `quantize`, and float32 ``(n, d)`` the vectors that they are the nearest of;
        None without `codebooks`.
        """

    @abstractmethod
    def assign(self, items: Items, taken: Codes | None = None) -> Codes:
        """int32 ``(n, levels)``: one identifier per item, none shared, none in ``taken``.

        Args:
            items: any, seen in fitting or not.
            taken: int32 ``(m, levels)`` identifiers that other items have.

        Raises:
            IdentifierError: there are fewer identifiers than items.
        """

    @abstractmethod
    def quantized(self, items: Items) -> NDArray[np.float32] | None:
        """float32 ``(n, d)``: the embeddings that the codes of `quantize` stand for; None without
        `codebooks`.
        """

    @abstractmethod
    def reconstruction_error(self, items: Items) -> float | None:
        """Squared error of what is restored from the codes, as a share of the variance; None
        without `codebooks`.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and ``tokenizer.safetensors`` into a folder."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; the same codes come out.

        Raises:
            RunError: the files are missing, damaged or of another tokenizer.
        """


def read_about(folder: Path, name: str) -> dict[str, Any]:
    """What ``tokenizer.json`` says of the tokenizer of a name, without what earlier versions wrote
    and none reads any more.

    Raises:
        RunError: the file is missing or damaged, or of another tokenizer.
    """
    about = read_json(folder / "tokenizer.json")
    if about.pop("name") != name:
        raise RunError(f"{folder} holds another tokenizer; load it with load_tokenizer")
    return {k: v for k, v in about.items() if not k.startswith("sinkhorn_")}


def check_content(content: NDArray[np.float32]) -> None:
    """Refuse content embeddings that are not ``(n, d_content)``, empty or not finite.

    Raises:
        SettingsError: with what is wrong.
    """
    if content.ndim != 2 or 0 in content.shape:
        raise SettingsError(
            f"content embeddings have shape {content.shape}; expected (items, dimensions), "
            "one row per item"
        )
    if not np.isfinite(content).all():
        row = int(np.flatnonzero(~np.isfinite(content).all(1))[0])
        raise SettingsError(
            f"content embeddings hold NaN or infinity (first in row {row}); encode the items again"
        )


def check_cf(cf: NDArray[np.float32] | None, n_items: int, dim: int, alpha: float) -> None:
    """Refuse CF embeddings that eq. 3 cannot be computed with.

    Raises:
        SettingsError: they are missing, not ``(n_items, dim)`` or not finite.
    """
    if cf is None:
        raise SettingsError(
            f"tokenizer.alpha = {alpha:g} needs CF embeddings, and there are none; "
            "give them, or set tokenizer.alpha=0"
        )
    if cf.shape != (n_items, dim):
        raise SettingsError(
            f"CF embeddings have shape {cf.shape}; expected ({n_items}, {dim}): one row per item, "
            "and tokenizer.dim columns since eq. 3 multiplies them with the codes; "
            "set tokenizer.dim to the CF dimension"
        )
    if not np.isfinite(cf).all():
        row = int(np.flatnonzero(~np.isfinite(cf).all(1))[0])
        raise SettingsError(
            f"CF embeddings hold NaN or infinity (first in row {row}); train them again"
        )


def check_fitted(d_content: int, content: NDArray[np.float32] | None = None) -> None:
    """Refuse to quantize before fitting, or content of another dimension than was fitted.

    Args:
        d_content: dimension that was fitted; 0 if nothing was.
        content: float32 ``(n, d_content)``.

    Raises:
        RunError: with what is wrong.
    """
    if d_content == 0:
        raise RunError("the tokenizer is not fitted; call fit, or load a fitted one")
    if content is not None and (content.ndim != 2 or content.shape[1] != d_content):
        raise RunError(
            f"content embeddings have shape {content.shape}; the tokenizer was fitted on "
            f"(items, {d_content}): encode the items with the same encoder"
        )
