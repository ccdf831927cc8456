"""Tokenizers: content and CF embeddings -> codes, one identifier per item.

A tokenizer is one file here and one line in `TOKENIZERS`; `tests/contract_tokenizer.py` says what
it must do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from letterrec.errors import RunError
from letterrec.files import read_json, reading
from letterrec.tokenizers.letter import LetterTokenizer
from letterrec.tokenizers.rqkmeans import RQKMeansTokenizer


class Tokenizer(Protocol):
    """What every tokenizer does.

    ``content`` is float32 ``(n, d_content)``, ``cf`` float32 ``(n, d)``, row for row; new items
    have no ``cf`` yet. A tokenizer need not read ``cf``.
    """

    def __init__(self, **settings: Any) -> None: ...

    @property
    def codebooks(self) -> NDArray[np.float32]:
        """float32 ``(levels, codes, d)``."""

    def fit(
        self,
        content: NDArray[np.float32],
        cf: NDArray[np.float32] | None,
        *,
        seed: int = 0,
        folder: Path | None = None,
    ) -> Self:
        """Learn the codes of a catalogue; ``folder`` is for checkpoints, to resume from."""

    def quantize(
        self, content: NDArray[np.float32], cf: NDArray[np.float32] | None = None
    ) -> NDArray[np.int32]:
        """int32 ``(n, levels)``: codes as they come; items may share all of them."""

    def assign(
        self,
        content: NDArray[np.float32],
        taken: NDArray[np.int32] | None = None,
        cf: NDArray[np.float32] | None = None,
    ) -> NDArray[np.int32]:
        """int32 ``(n, levels)``: one identifier per item, none shared, none in ``taken``.

        Raises:
            IdentifierError: there are fewer identifiers than items.
        """

    def quantized(
        self, content: NDArray[np.float32], cf: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """float32 ``(n, d)``: the embedding that the codes of `quantize` stand for."""

    def reconstruction_error(
        self, content: NDArray[np.float32], cf: NDArray[np.float32] | None = None
    ) -> float:
        """Squared error of what is restored from the codes, as a share of the variance."""

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and ``tokenizer.safetensors``."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; the same codes come out."""


TOKENIZERS: dict[str, type[Tokenizer]] = {
    "letter": LetterTokenizer,
    "rqkmeans": RQKMeansTokenizer,
}


_LARGEST = 2**24  # of the sizes in tokenizer.json: before memory for them is asked for


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer saved in a folder, whichever it is.

    Raises:
        RunError: there is none, or none that this version knows.
    """
    path = folder / "tokenizer.json"
    with reading(path):
        about = read_json(path)
        name = about.get("name")
        for key, value in about.items():
            numbers = value if key == "hidden" else [value]
            is_sane = all(isinstance(n, int | float) and abs(n) <= _LARGEST for n in numbers)
            if key != "name" and not is_sane:
                raise ValueError(f"{key}: expected numbers up to {_LARGEST:,}")
        if name not in TOKENIZERS:
            raise RunError(
                f"{path} names the tokenizer {str(name)[:40]!r}; "
                f"expected one of {', '.join(TOKENIZERS)}"
            )
        return TOKENIZERS[name].load(folder)
