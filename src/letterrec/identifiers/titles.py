"""Titles as identifiers: an item is called by the tokens of its title (BIGRec, P5-TID).

Titles become token sequences of which none is the beginning of another.

After "A Bi-Step Grounding Paradigm for Large Language Models in Recommendation Systems" (BIGRec),
which calls items by titles in a language model's own tokens, and the title variant of "How to
Index Item IDs for Recommendation Foundation Models" (P5-TID, SIGIR-AP'23).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from letterrec.identifiers.identifiers import Identifiers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_TOKENS = 16  # of a title; what follows is left out


def title_identifiers(
    titles: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> tuple[Identifiers, NDArray[np.int32]]:
    """Call every item by its title.

    An identifier is the first `MAX_TOKENS` tokens of the title and an end: the tokenizer's tokens
    of a line break or, where it has none, its separator. Where several titles begin alike, the
    first item is called so and the others have " #2", " #3" and so on before the end.

    Args:
        titles: one per item.
        tokenizer: of transformers.

    Returns:
        The identifiers, of different lengths, and int32 ``(n_items, n_levels)`` codes of the
        titles before repeated ones were told apart.
    """
    end = _tokens(tokenizer, "\n") or [tokenizer.sep_token_id]
    cut = [_tokens(tokenizer, " ".join(title.split())) for title in titles]
    plain = [tuple([token for token in tokens if token != end[-1]][:MAX_TOKENS]) for tokens in cut]
    taken: set[tuple[int, ...]] = set()
    last: dict[tuple[int, ...], int] = {}  # how often a beginning was used
    distinct = []
    for title in plain:
        n = last.get(title, 0) + 1
        name = title if n == 1 else _numbered(tokenizer, title, n)
        while name in taken:  # by a title that ends like a number of ours
            n += 1
            name = _numbered(tokenizer, title, n)
        last[title] = n
        taken.add(name)
        distinct.append([*name, *end])
    used = sorted({token for name in distinct for token in name})
    width = max(len(name) for name in distinct)
    codes, before = (
        _codes(names, used, width) for names in (distinct, [[*title, *end] for title in plain])
    )
    words = tuple(tokenizer.convert_ids_to_tokens(used))
    return Identifiers(codes, (len(used),) * width, words), before


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens


def _numbered(
    tokenizer: PreTrainedTokenizerBase, title: tuple[int, ...], n: int
) -> tuple[int, ...]:
    return (*title, *_tokens(tokenizer, f" #{n}"))


def _codes(names: Sequence[Sequence[int]], used: Sequence[int], width: int) -> NDArray[np.int32]:
    """int32 ``(n, width)``: positions in ``used``, then -1."""
    codes = np.full((len(names), width), -1, dtype=np.int32)
    for row, name in enumerate(names):
        codes[row, : len(name)] = np.searchsorted(used, name)
    return codes
