"""Identifiers for items that nobody has used yet: from their content alone.

Knows what stands for the CF embedding of such an item where the run's tokenizer reads CF
embeddings: that of the items like it. Leaves content embeddings to `content`, and codes and
uniqueness to the tokenizers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from letterrec.embeddings.similarity import as_matrix, most_similar, unit
from letterrec.files import read_matrix
from letterrec.tokenizers import load_tokenizer

_SOFTNESS = 0.05  # of the weights, in units of cosine


class Newcomers:
    """Gives new items identifiers by the tokenizer of a run.

    Args:
        folder: of the run.
        content: float32 ``(n_items, d_content)`` of the items trained on.

    Raises:
        RunError: the run has no tokenizer, or its files are damaged.
    """

    def __init__(self, folder: Path, content: NDArray[np.float32]) -> None:
        self._tokenizer = load_tokenizer(folder / "tokenizer")
        self._content = content
        self._cf: NDArray[np.float32] | None = None
        path = folder / "collaborative.safetensors"
        if path.exists():
            self._cf = read_matrix(path, len(content))

    def assign(self, content: NDArray[np.float32], taken: NDArray[np.int32]) -> NDArray[np.int32]:
        """int32 ``(n, levels)``: identifiers for new items, none shared, none in ``taken``.

        Args:
            content: float32 ``(n, d_content)`` of the new items.
            taken: int32 ``(m, levels)`` identifiers that other items have.
        """
        cf = None if self._cf is None else estimate_cf(self._content, self._cf, content)
        codes: NDArray[np.int32] = self._tokenizer.assign(content, taken, cf)
        return codes


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
