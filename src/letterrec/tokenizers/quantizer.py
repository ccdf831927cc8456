"""The residual quantizer: latents -> one code per level, and their sum."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from letterrec.tokenizers.kmeans import nearest, residual_kmeans
from letterrec.tokenizers.losses import quantization_loss

Commitment = Literal["all", "first"]
_MOVE = 1e-3  # of the residuals' deviation: how far from a point a revived code is put


class ResidualQuantizer(nn.Module):
    """Residual quantization with learnt codebooks (LETTER section 4.2.1, eq. 1).

    Args:
        levels: number of codebooks L.
        codes: codes per codebook N.
        dim: dimension d of latents and codes.
        mu: weight of the commitment term of eq. 2.
        commitment: whose commitment moves the latents: that of ``"all"`` levels, or of the
            ``"first"``, further residuals being constants.

    Attributes:
        codebooks: float32 ``(levels, codes, dim)``.
    """

    def __init__(
        self,
        *,
        levels: int,
        codes: int,
        dim: int,
        mu: float = 0.25,
        commitment: Commitment = "all",
    ) -> None:
        super().__init__()
        self.mu = mu
        self._first_alone = commitment == "first"
        self.codebooks = nn.Parameter(torch.randn(levels, codes, dim) * dim**-0.5)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize latents.

        Args:
            latents: float ``(n, dim)``.

        Returns:
            ``(quantized, codes, loss)``: the sum of the chosen codes, float ``(n, dim)``, whose
            gradient passes straight through to ``latents``; int64 ``(n, levels)``; and the
            quantization loss of eq. 2, a scalar.

        Raises:
            ValueError: ``latents`` are not ``(n, dim)``.
        """
        if latents.ndim != 2 or latents.shape[1] != self.codebooks.shape[2]:
            raise ValueError(
                f"latents have shape {tuple(latents.shape)}; "
                f"expected (n, {self.codebooks.shape[2]}), the dimension of the codebooks"
            )
        residual = latents
        loss = latents.new_zeros(())
        codes = []
        for codebook in self.codebooks:  # (codes, dim)
            chosen = nearest(residual.detach(), codebook.detach())  # (n,)
            embedding = F.embedding(chosen, codebook)  # (n, dim)
            loss = loss + quantization_loss(residual, embedding, self.mu)
            residual = residual - embedding.detach()  # (n, dim)
            if self._first_alone:
                residual = residual.detach()
            codes.append(chosen)
        quantized = latents - residual.detach()  # (n, dim), gradient of the latents
        return quantized, torch.stack(codes, 1), loss

    @torch.no_grad()
    def initialise(self, latents: Tensor) -> None:
        """Set the codebooks by residual k-means on latents ``(n, dim)``."""
        levels, codes, _ = self.codebooks.shape
        self.codebooks.copy_(residual_kmeans(latents, levels=levels, codes=codes))

    @torch.no_grad()
    def revive(self, latents: Tensor) -> int:
        """Move dead codes, those that none of the latents chooses, to where they are of use.

        A dead code moves beside the residual of a point, likelier of one quantized badly.

        Args:
            latents: float ``(n, dim)``.

        Returns:
            How many codes were moved.
        """
        residual = latents
        revived = 0
        for codebook in self.codebooks:
            chosen = nearest(residual, codebook)  # (n,)
            sizes = torch.bincount(chosen, minlength=len(codebook))  # (codes,)
            dead = (sizes == 0).nonzero().squeeze(1)[: len(residual) // 2]
            if len(dead):
                errors = (residual - codebook[chosen]).square().sum(1)  # (n,)
                picked = residual[_sample(errors, len(dead))]  # (dead, dim)
                noise = torch.randn(picked.shape).to(picked)
                codebook[dead] = picked + noise * residual.std(unbiased=False) * _MOVE
                revived += len(dead)
                chosen = nearest(residual, codebook)
            residual = residual - codebook[chosen]
        return revived


def _sample(weights: Tensor, count: int) -> Tensor:
    """``count`` distinct rows, likelier where ``weights`` (non-negative) are larger."""
    return torch.multinomial(weights.double().cpu() + 1e-12, count).to(weights.device)
