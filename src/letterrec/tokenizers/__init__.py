"""Tokenizers: content and CF embeddings -> codes, one identifier per item.

`base` is the seam; `TOKENIZERS` lists those that there are.
"""

from __future__ import annotations

from pathlib import Path

from letterrec.errors import RunError, quoted
from letterrec.files import read_json, refuse_damaged
from letterrec.tokenizers.base import Items, Tokenizer
from letterrec.tokenizers.letter import LetterTokenizer
from letterrec.tokenizers.p5 import CategoryTokenizer, CooccurrenceTokenizer
from letterrec.tokenizers.rqkmeans import RQKMeansTokenizer

__all__ = ["TOKENIZERS", "Items", "Tokenizer", "load_tokenizer"]

TOKENIZERS: dict[str, type[Tokenizer]] = {
    tokenizer.name: tokenizer
    for tokenizer in (LetterTokenizer, RQKMeansTokenizer, CategoryTokenizer, CooccurrenceTokenizer)
}


_WORDS = (
    "name",
    "cf_target",
    "input_scale",
    "level_loss",
    "commitment",
    "selection",
    "order",
)  # settings that are words
_LARGEST = 2**24  # of the sizes in tokenizer.json: before memory for them is asked for


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer saved in a folder, whichever it is.

    Raises:
        RunError: there is none, or none that this version knows.
    """
    path = folder / "tokenizer.json"
    with refuse_damaged(path):
        about = read_json(path)
        name = about.get("name")
        for key, value in about.items():
            numbers = value if key == "hidden" else [value]
            is_sane = all(isinstance(n, int | float) and abs(n) <= _LARGEST for n in numbers)
            if key not in _WORDS and not is_sane:
                raise ValueError(f"{key}: expected numbers up to {_LARGEST:,}")
        if name not in TOKENIZERS:
            raise RunError(
                f"{path} names the tokenizer {quoted(str(name))}; "
                f"expected one of {', '.join(TOKENIZERS)}"
            )
        return TOKENIZERS[name].load(folder)
