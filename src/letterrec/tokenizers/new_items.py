"""Identifiers for items that nobody has used yet (cold items), from their content alone.

Where the tokenizer reads CF embeddings, a new item gets an estimate: the CF embeddings of the items
with the most similar content.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from letterrec.embeddings.similarity import as_matrix, most_similar, unit
from letterrec.tokenizers.assignment import assign
from letterrec.tokenizers.base import Codes, Items, Tokenizer

_SOFTNESS = 0.05  # of the weights, in units of cosine


def assign_new(
    tokenizer: Tokenizer, known: Items, content: NDArray[np.float32], taken: Codes
) -> Codes:
    """int32 ``(n, levels)``: identifiers for new items, none shared, none in ``taken``.

    Args:
        tokenizer: fitted to the known items.
        known: the items that it was fitted to.
        content: float32 ``(n, d_content)`` of the new items.
        taken: int32 ``(m, levels)`` identifiers that other items have.
    """
    cf = None if known.cf is None else estimate_cf(known.content, known.cf, content)
    return assign(tokenizer, Items(content, cf), taken)


def estimate_cf(
    content: NDArray[np.float32], cf: NDArray[np.float32], new: NDArray[np.float32]
) -> NDArray[np.float32]:
    """CF embeddings for new items: those of the 20 items with the most similar content, weighted.

    The weights are ``exp(cosine / 0.05)``. What is averaged are directions around the centre of
    ``cf``: a CF embedding's length speaks of popularity, of which a new item has none.

    Args:
        content: float32 ``(n, d_content)`` of known items.
        cf: float32 ``(n, d)`` of the same items.
        new: float32 ``(m, d_content)`` of new items.

    Returns:
        float32 ``(m, d)``: centre plus direction, of the mean length of ``cf`` around its centre.

    >>> content = np.array([[1, 0], [0, 1]], dtype=np.float32)
    >>> cf = np.array([[2, 0], [-2, 0]], dtype=np.float32)
    >>> estimate_cf(content, cf, np.array([[3, 0]], dtype=np.float32)).round(3).tolist()
    [[2.0, 0.0]]
    """
    centre = cf.mean(0)
    lengths = np.linalg.norm(cf - centre, axis=1, keepdims=True)
    directions = unit(cf - centre)  # (n, d)
    mean = as_matrix(most_similar(content, new, _SOFTNESS), len(content)) @ directions
    return np.asarray(centre + unit(mean) * lengths.mean(), dtype=np.float32)
