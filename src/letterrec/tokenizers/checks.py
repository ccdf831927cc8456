"""What every tokenizer checks in the embeddings it is given.

Knows the errors; leaves what is done with embeddings to the tokenizers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from letterrec.errors import RunError, SettingsError


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
