"""Random numbers of networks that may be trained in several threads at once."""

from __future__ import annotations

import threading

import torch

_of_thread = threading.local()


def draw_seed() -> int:
    """A seed from the random state of this thread: its own generator, else PyTorch's."""
    generator: torch.Generator | None = getattr(_of_thread, "generator", None)
    return int(torch.randint(2**63 - 1, (), generator=generator))


def use_generator(generator: torch.Generator) -> None:
    """Let `draw_seed` draw from this generator in this thread."""
    _of_thread.generator = generator
