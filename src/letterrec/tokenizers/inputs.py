"""What a tokenizer reads of an item: its content embedding and, if wanted, its CF embedding."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

InputScale = Literal["unit", "raw"]
_CF_WEIGHT = 3.0  # mean squared length of the CF block, the content's being 1


class Inputs(nn.Module):
    """Content ``(n, d_content)`` and CF ``(n, dim)`` embeddings -> inputs ``(n, d)``.

    At the scale ``"unit"``, content is centred and divided by one number, so that distances keep
    their proportions. CF embeddings are centred and brought to length 1: their length speaks of
    popularity. The CF block has three times the content's mean squared length, whatever their
    scales and dimensions were, and the inputs a mean square of 1. At the scale ``"raw"``, both are
    read as they come. An item without a CF embedding gets their centre.

    Args:
        d_content: dimension of the content embeddings.
        d_cf: dimension of the CF embeddings; 0 reads content alone.
        scale: ``"unit"`` or ``"raw"``.
    """

    content_mean: Tensor
    content_length: Tensor
    cf_mean: Tensor

    def __init__(self, d_content: int, d_cf: int = 0, scale: InputScale = "unit") -> None:
        super().__init__()
        self.d_content, self.d_cf, self.scale = d_content, d_cf, scale
        self.register_buffer("content_mean", torch.zeros(d_content))
        self.register_buffer("content_length", torch.ones(()))
        self.register_buffer("cf_mean", torch.zeros(d_cf))

    @property
    def dim(self) -> int:
        """Dimension of the inputs."""
        return self.d_content + self.d_cf

    @property
    def centre(self) -> Tensor:
        """float32 ``(d,)``: the mean of the inputs that were measured."""
        if self.scale == "unit":
            return self.content_mean.new_zeros(self.dim)
        return torch.cat([self.content_mean, self.cf_mean])

    def measure(self, content: NDArray[np.float32], cf: NDArray[np.float32] | None) -> Self:
        """Take centres and scale from a catalogue."""
        mean = content.mean(0, dtype=np.float64)
        square = float(np.mean(np.square(content - mean, dtype=np.float64).sum(1)))
        self.content_mean.copy_(torch.from_numpy(mean))
        self.content_length.fill_(square**0.5 if square > 0 else 1.0)
        if self.d_cf and cf is not None:
            self.cf_mean.copy_(torch.from_numpy(cf.mean(0, dtype=np.float64)))
        return self

    def forward(self, content: Tensor, cf: Tensor | None = None) -> Tensor:
        """Float32 ``(n, d_content)`` and ``(n, d_cf)`` or None -> float32 ``(n, d)``."""
        if cf is None:
            cf = self.cf_mean.expand(len(content), -1)
        if self.scale == "raw":
            return torch.cat([content, cf], 1) if self.d_cf else content
        scaled = (content - self.content_mean) / self.content_length  # mean squared length 1
        if not self.d_cf:
            return torch.mul(scaled, self.dim**0.5)
        centred = cf - self.cf_mean
        directions = nn.functional.normalize(centred, dim=1)  # zero stays zero
        both = torch.cat([scaled, directions * _CF_WEIGHT**0.5], 1)
        return torch.mul(both, (self.dim / (1 + _CF_WEIGHT)) ** 0.5)
