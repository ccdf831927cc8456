"""The network of the LETTER tokenizer: an autoencoder around a residual quantizer.

Knows encoder, decoder and the forward pass with all terms of eq. 5. Leaves when there are codes,
how they are clustered and what is trained to `letter`.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from letterrec.tokenizers import losses
from letterrec.tokenizers.quantizer import ResidualQuantizer


class RQVAE(nn.Module):
    """Encoder, residual quantizer and decoder with the loss of eq. 5.

    Args:
        d_content: dimension of the content embeddings.
        levels: codes per identifier L.
        codes: codes per level N.
        dim: dimension d of latents and codes.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        mu: commitment, eq. 2.
        alpha: strength of the collaborative term, eq. 5.
        beta: strength of the diversity term, eq. 5.

    Attributes:
        content_mean: float32 ``(d_content,)``, taken off every content embedding.
        content_deviation: float32 ``(d_content,)``, every content embedding is divided by.
        clusters: int64 ``(levels, codes)``, cluster of each code (eq. 4).
        with_codes: whether latents are quantized; False trains a plain autoencoder.
    """

    content_mean: Tensor
    content_deviation: Tensor
    clusters: Tensor

    def __init__(
        self,
        *,
        d_content: int,
        levels: int,
        codes: int,
        dim: int,
        hidden: tuple[int, ...],
        mu: float,
        alpha: float,
        beta: float,
    ) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        self.encoder = _mlp((d_content, *hidden, dim))
        self.decoder = _mlp((dim, *reversed(hidden), d_content))
        self.quantizer = ResidualQuantizer(levels=levels, codes=codes, dim=dim, mu=mu)
        self.register_buffer("content_mean", torch.zeros(d_content))
        self.register_buffer("content_deviation", torch.ones(d_content))
        clusters = torch.zeros(levels, codes, dtype=torch.int64)
        self.register_buffer("clusters", clusters, persistent=False)
        self.with_codes = True

    def standardised(self, content: Tensor) -> Tensor:
        """Content ``(n, d_content)`` with mean 0 and deviation 1 per dimension."""
        return (content - self.content_mean) / self.content_deviation

    def forward(self, content: Tensor, cf: Tensor | None = None) -> dict[str, Tensor]:
        """The loss of a batch (eq. 5) and its terms, scalars.

        Args:
            content: float32 ``(n, d_content)``.
            cf: float32 ``(n, dim)``; None without the collaborative term.
        """
        target = self.standardised(content)  # (n, d_content)
        quantized = self.encoder(target).float()  # (n, dim)
        none = quantized.new_zeros(())
        parts = {"quantization": none, "collaborative": none, "diversity": none}
        with torch.autocast(content.device.type, enabled=False):  # distances need float32
            if self.with_codes:
                quantized, codes, parts["quantization"] = self.quantizer(quantized)
                if self.beta > 0:
                    parts["diversity"] = self._diversity(codes)
            if cf is not None:
                parts["collaborative"] = losses.collaborative_loss(quantized, cf)
        decoded = self.decoder(quantized).float()  # (n, d_content)
        parts["reconstruction"] = losses.reconstruction_loss(target, decoded)
        semantic = parts["reconstruction"] + parts["quantization"]
        loss = losses.letter_loss(
            semantic, parts["collaborative"], parts["diversity"], self.alpha, self.beta
        )
        return {"loss": loss, **{k: v.detach() for k, v in parts.items()}}

    def _diversity(self, codes: Tensor) -> Tensor:
        """Eq. 4, summed over the levels."""
        total = codes.new_zeros((), dtype=torch.float32)
        for level, codebook in enumerate(self.quantizer.codebooks):
            positives = losses.draw_positives(codes[:, level], self.clusters[level])
            total = total + losses.diversity_loss(codebook, codes[:, level], positives)
        return total


def _mlp(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, next_width in itertools.pairwise(widths):
        layers += [nn.Linear(width, next_width), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
