"""Where and how numbers are computed: the device, its precision, the random states."""

from __future__ import annotations

import random

import numpy as np
import torch


def set_seed(seed: int, *salt: int) -> None:
    """Set every random state from a seed and further numbers (an epoch, a stage)."""
    mixed = int(np.random.SeedSequence([seed, *salt]).generate_state(1)[0])
    random.seed(mixed)
    np.random.seed(mixed)  # noqa: NPY002  (libraries that draw from NumPy's global state)
    torch.manual_seed(mixed)


def device() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bfloat16() -> bool:
    """Whether bfloat16 is fast here: in hardware, not emulated.

    On a CPU, oneDNN must be allowed to use the instructions: with ``ONEDNN_MAX_CPU_ISA=AVX2`` in
    the environment it has no bfloat16.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
