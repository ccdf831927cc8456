"""Quantized embeddings in place of SASRec's own (the paper's Table 3), in any basis.

SASRec was trained with embeddings of one basis, and a tokenizer without eq. 3 knows nothing of it:
turning its embeddings changes the result while they say the same. So the result stands beside those
of random rotations, and beside a linear probe, which no rotation changes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

OVER_ROTATIONS = ("recall@10 rotated", "lowest rotated", "highest rotated")
PROBE = "R2 of h"
_ROTATIONS = 8
_TRAINED = 0.8  # share of the items that the probe is fitted on


def over_rotations(
    quantized: NDArray[np.float32], recall: Callable[[NDArray[np.float32]], float]
) -> dict[str, float]:
    """Mean, lowest and highest Recall@10 over eight random rotations of the embeddings.

    Args:
        quantized: float32 ``(n, d)``.
        recall: what embeddings ``(n, d)`` reach in SASRec.
    """
    turned = [quantized @ rotation(quantized.shape[1], seed) for seed in range(_ROTATIONS)]
    found = [recall(embeddings) for embeddings in turned]
    values = (float(np.mean(found)), min(found), max(found))
    return dict(zip(OVER_ROTATIONS, values, strict=True))


def rotation(dim: int, seed: int) -> NDArray[np.float32]:
    """A random orthogonal matrix, float32 ``(dim, dim)``, evenly drawn (Mezzadri, 2007)."""
    normal = np.random.default_rng(seed).normal(size=(dim, dim))
    q, r = np.linalg.qr(normal)
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float32)


def linear_probe(quantized: NDArray[np.float32], cf: NDArray[np.float32]) -> float:
    """R^2 of the best affine map from z_hat to h, on a fifth of the items that it has not seen.

    1: quantized embeddings say all that CF embeddings say; 0: they say nothing of them.

    Args:
        quantized: float32 ``(n, d)``, z_hat.
        cf: float32 ``(n, d_cf)``, h.
    """
    n = len(quantized)
    order = np.random.default_rng(0).permutation(n)
    fitted, held_out = np.split(order, [int(n * _TRAINED)])
    inputs = np.hstack([quantized.astype(np.float64), np.ones((n, 1))])
    weights = np.linalg.lstsq(inputs[fitted], cf[fitted].astype(np.float64))[0]
    error = np.square(cf[held_out] - inputs[held_out] @ weights).sum()
    variance = np.square(cf[held_out] - cf[fitted].mean(0, dtype=np.float64)).sum()
    return float(1 - error / variance) if variance > 0 else 0.0


def at_scale_of(quantized: NDArray[np.float32], own: NDArray[np.float32]) -> NDArray[np.float32]:
    """``quantized`` with the root mean square of ``own``: a tokenizer knows no scale."""
    scale = _root_mean_square(own) / max(_root_mean_square(quantized), 1e-12)
    return np.asarray(quantized * scale, dtype=np.float32)


def _root_mean_square(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))
