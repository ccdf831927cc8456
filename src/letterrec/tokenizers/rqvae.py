"""The network of the LETTER tokenizer: an autoencoder around a residual quantizer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from letterrec.tokenizers import losses
from letterrec.tokenizers.inputs import Inputs
from letterrec.tokenizers.quantizer import Commitment, ResidualQuantizer

LevelLoss = Literal["sum", "mean"]
_CHUNK = 8192  # items that are encoded at a time


class RQVAE(nn.Module):
    """Encoder, residual quantizer and decoder with the loss of eq. 5.

    Args:
        inputs: what brings embeddings to one scale; kept with the network.
        levels: codes per identifier L.
        codes: codes per level N.
        dim: dimension d of latents and codes.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        linear_path: whether both have a linear path beside the layers, which starts from the
            principal components (`start_linear`): distances between latents then speak of the
            inputs from the start.
        mu: commitment, eq. 2.
        alpha: strength of the collaborative term, eq. 5.
        beta: strength of the diversity term, eq. 5.
        level_loss: what eq. 2 and eq. 4 are over the levels, ``"sum"`` or ``"mean"``.
        commitment: see `ResidualQuantizer`.

    Attributes:
        clusters: int64 ``(levels, codes)``, cluster of each code (eq. 4).
        with_codes: whether latents are quantized; False trains a plain autoencoder.
    """

    clusters: Tensor

    def __init__(
        self,
        *,
        inputs: Inputs,
        levels: int,
        codes: int,
        dim: int,
        hidden: tuple[int, ...],
        mu: float,
        alpha: float,
        beta: float,
        linear_path: bool = True,
        level_loss: LevelLoss = "sum",
        commitment: Commitment = "all",
    ) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        self._level_weight = 1.0 if level_loss == "sum" else 1 / levels
        self.inputs = inputs
        self.encoder = _MLP((inputs.dim, *hidden, dim), linear_path)
        self.decoder = _MLP((dim, *reversed(hidden), inputs.dim), linear_path)
        self.quantizer = ResidualQuantizer(
            levels=levels, codes=codes, dim=dim, mu=mu, commitment=commitment
        )
        clusters = torch.zeros(levels, codes, dtype=torch.int64)
        self.register_buffer("clusters", clusters, persistent=False)
        self.with_codes = True

    @torch.no_grad()
    def start_linear(self, inputs: Tensor) -> None:
        """Let the linear paths project on the principal components of inputs ``(n, d)`` and back.

        The latents' mean square becomes 1. Without linear paths nothing happens.
        """
        if self.encoder.straight is None or self.decoder.straight is None:
            return
        dim = self.quantizer.codebooks.shape[2]
        values, vectors = torch.linalg.eigh(inputs.T @ inputs / len(inputs))
        axes = vectors[:, -dim:].flip(1)  # (d, at most dim), the largest first
        scale = (values[-dim:].clamp(min=0).mean().sqrt()).clamp(min=1e-6)
        self.encoder.straight.weight.zero_()[: axes.shape[1]] = axes.T / scale
        self.decoder.straight.weight.zero_()[:, : axes.shape[1]] = axes * scale

    def forward(self, target: Tensor, cf: Tensor | None = None) -> dict[str, Tensor]:
        """The loss of a batch (eq. 5) and its terms, scalars.

        Args:
            target: float32 ``(n, d)`` inputs, to be restored.
            cf: float32 ``(n, dim)``; None without the collaborative term.
        """
        quantized = self.encoder(target).float()  # (n, dim)
        none = quantized.new_zeros(())
        parts = {"quantization": none, "collaborative": none, "diversity": none}
        with torch.autocast(target.device.type, enabled=False):  # distances need float32
            if self.with_codes:
                quantized, codes, over_levels = self.quantizer(quantized)
                parts["quantization"] = over_levels * self._level_weight
                if self.beta > 0:
                    parts["diversity"] = self._diversity(codes)
            if cf is not None:
                parts["collaborative"] = losses.collaborative_loss(quantized, cf)
        decoded = self.decoder(quantized).float()  # (n, d)
        parts["reconstruction"] = losses.reconstruction_loss(target, decoded)
        semantic = parts["reconstruction"] + parts["quantization"]
        loss = losses.letter_loss(
            semantic, parts["collaborative"], parts["diversity"], self.alpha, self.beta
        )
        return {"loss": loss, **{k: v.detach() for k, v in parts.items()}}

    def _diversity(self, codes: Tensor) -> Tensor:
        """Eq. 4, over the levels as eq. 2."""
        total = codes.new_zeros((), dtype=torch.float32)
        for level, codebook in enumerate(self.quantizer.codebooks):
            positives = losses.draw_positives(codes[:, level], self.clusters[level])
            total = total + losses.diversity_loss(codebook, codes[:, level], positives)
        return total * self._level_weight


def quantized_of(codebooks: NDArray[np.float32], codes: NDArray[np.int32]) -> NDArray[np.float32]:
    """float32 ``(n, dim)``: the sum of each row's codes."""
    chosen = codebooks[np.arange(len(codebooks)), codes]  # (n, levels, dim)
    return np.asarray(chosen.sum(1), dtype=np.float32)


def inputs_of(
    network: RQVAE, content: NDArray[np.float32], cf: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """float32 ``(n, d)``: what the encoder reads of items."""
    reader = network.inputs
    device = reader.content_mean.device
    out = np.empty((len(content), reader.dim), dtype=np.float32)
    for start in range(0, len(content), _CHUNK):
        rows = slice(start, start + _CHUNK)
        tensors = [
            None if a is None else torch.from_numpy(a[rows]).to(device) for a in (content, cf)
        ]
        assert tensors[0] is not None
        out[rows] = reader(tensors[0], tensors[1]).cpu().numpy()
    return out


def _chunks(network: RQVAE, inputs: NDArray[np.float32]) -> Iterator[Tensor]:
    """Inputs, some thousand rows at a time (once without any), on the network's device."""
    device = network.inputs.content_mean.device
    for start in range(0, max(1, len(inputs)), _CHUNK):
        yield torch.from_numpy(np.ascontiguousarray(inputs[start : start + _CHUNK])).to(device)


@torch.no_grad()
def latents_of(network: RQVAE, inputs: NDArray[np.float32]) -> Tensor:
    """float32 ``(n, dim)``: encoded inputs, on the network's device."""
    return torch.cat([network.encoder(chunk) for chunk in _chunks(network, inputs)])


@torch.no_grad()
def codes_of(network: RQVAE, latents: Tensor) -> NDArray[np.int32]:
    """int32 ``(n, levels)``: codes of latents ``(n, dim)``."""
    return np.asarray(network.quantizer(latents)[1].cpu().numpy(), dtype=np.int32)


@torch.no_grad()
def reconstruction_error_of(network: RQVAE, inputs: NDArray[np.float32]) -> float:
    """Squared error of decoded inputs ``(n, d)``, as a share of that of their centre."""
    error, variance = 0.0, 0.0
    for chunk in _chunks(network, inputs):
        quantized = network.quantizer(network.encoder(chunk))[0]
        error += float((network.decoder(quantized) - chunk).square().sum())
        variance += float((chunk - network.inputs.centre).square().sum())
    return error / variance if variance > 0 else 0.0


class _MLP(nn.Module):
    """A multilayer perceptron, alone or beside a linear path.

    With the path it starts as that path; alone, from normal weights of Glorot's variance.
    """

    straight: nn.Linear | None

    def __init__(self, widths: tuple[int, ...], linear_path: bool) -> None:
        super().__init__()
        self.straight = nn.Linear(widths[0], widths[-1]) if linear_path else None
        linears = [nn.Linear(width, wider) for width, wider in itertools.pairwise(widths)]
        if self.straight is not None:
            for parameter in (self.straight.bias, *linears[-1].parameters()):
                nn.init.zeros_(parameter)
        else:
            for linear in linears:
                nn.init.xavier_normal_(linear.weight)
                nn.init.zeros_(linear.bias)
        layers = [part for linear in linears for part in (linear, nn.ReLU())]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """``(n, widths[0])`` -> ``(n, widths[-1])``."""
        mapped: Tensor = self.layers(x)
        return mapped if self.straight is None else torch.add(self.straight(x), mapped)
