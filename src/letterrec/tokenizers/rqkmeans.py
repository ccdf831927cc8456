"""RQ-KMeans: residual k-means on the content embeddings, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.errors import RunError
from letterrec.files import write_json
from letterrec.files.tensors import read_tensors, write_tensors
from letterrec.identifiers.collisions import resolve
from letterrec.tokenizers.base import (
    Codes,
    Items,
    Tokenizer,
    check_content,
    check_fitted,
    read_about,
)
from letterrec.tokenizers.kmeans import balanced_kmeans, kmeans, nearest
from letterrec.training.devices import set_seed
from letterrec.training.options import TrainingOptions


class RQKMeansTokenizer(Tokenizer):
    """Codes by k-means on the content, then on what the level before left over.

    Args:
        levels: codes per identifier.
        codes: codes per level.
        balanced: nearly equal shares of the items for all codes of a level.
    """

    name = "rqkmeans"

    def __init__(
        self,
        *,
        levels: int = 4,
        codes: int = 256,
        balanced: bool = False,
    ) -> None:
        self.settings: dict[str, Any] = {
            "levels": levels,
            "codes": codes,
            "balanced": balanced,
        }
        self._codebooks = torch.zeros(0)  # (levels, codes, d_content)
        self._prices = torch.zeros(0)  # (levels, codes)
        self._mean = torch.zeros(0)  # (d_content,)

    def fit(self, items: Items, options: TrainingOptions) -> Self:
        """Cluster the content of a catalogue; of the options only the seed is read.

        Raises:
            SettingsError: the content is empty, of another shape or not finite.
        """
        content = items.content
        check_content(content)
        set_seed(options.seed)
        self._mean = torch.from_numpy(content.mean(0, dtype=np.float64)).float()
        residual = self._centred(content)
        codebooks, prices = [], []
        for _ in range(self.settings["levels"]):
            if self.settings["balanced"]:
                centres, price = balanced_kmeans(residual, self.settings["codes"])
            else:
                centres = kmeans(residual, self.settings["codes"])
                price = torch.zeros(len(centres))
            residual = residual - centres[nearest(residual, centres, price)]
            codebooks.append(centres)
            prices.append(price)
        self._codebooks, self._prices = torch.stack(codebooks), torch.stack(prices)
        return self

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes per level, of which all have as many."""
        return (int(self.settings["codes"]),) * int(self.settings["levels"])

    @property
    def codebooks(self) -> NDArray[np.float32]:
        """float32 ``(levels, codes, d_content)``, of centred content."""
        return self._codebooks.numpy()

    def quantize(self, items: Items) -> Codes:
        """int32 ``(n, levels)``: the codes of the content as they come."""
        return self._quantize(items.content)[0].numpy().astype(np.int32)

    def codes_and_latents(self, items: Items) -> tuple[Codes, NDArray[np.float32]]:
        """The codes of `quantize`, and float32 ``(n, d_content)`` the content without the mean that
        was fitted.
        """
        return self.quantize(items), self._centred(items.content).numpy()

    def assign(self, items: Items, taken: Codes | None = None) -> Codes:
        """int32 ``(n, levels)``: one identifier per item, none shared, none in ``taken``.

        Raises:
            IdentifierError: there are fewer identifiers than items.
        """
        return resolve(*self.codes_and_latents(items), self.codebooks, taken=taken)

    def quantized(self, items: Items) -> NDArray[np.float32]:
        """float32 ``(n, d_content)``: the content that the codes of `quantize` stand for."""
        residual = self._quantize(items.content)[1].numpy()
        return np.asarray(items.content - residual, dtype=np.float32)

    def reconstruction_error(self, items: Items) -> float:
        """Squared error of the codes, as a share of the content's variance around the mean."""
        error = float(self._quantize(items.content)[1].square().sum())
        variance = float(self._centred(items.content).square().sum())
        return error / variance if variance > 0 else 0.0

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and ``tokenizer.safetensors`` into a folder."""
        check_fitted(len(self._mean))
        tensors = {"codebooks": self._codebooks, "prices": self._prices, "mean": self._mean}
        write_tensors(folder / "tokenizer.safetensors", tensors)
        write_json(folder / "tokenizer.json", {"name": "rqkmeans", **self.settings})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; the tokenizer gives the same codes.

        Raises:
            RunError: the files are missing, damaged or of another tokenizer.
        """
        about = read_about(folder, cls.name)
        tokenizer = cls(**about)
        tensors, _ = read_tensors(folder / "tokenizer.safetensors")
        shape = (about["levels"], about["codes"])
        if set(tensors) != {"codebooks", "prices", "mean"} or tensors["prices"].shape != shape:
            raise RunError(
                f"{folder}/tokenizer.safetensors does not fit tokenizer.json; fit it again"
            )
        tokenizer._codebooks, tokenizer._prices = tensors["codebooks"], tensors["prices"]
        tokenizer._mean = tensors["mean"]
        return tokenizer

    def _centred(self, content: NDArray[np.float32]) -> Tensor:
        """Content without the mean of the catalogue that was fitted, float32."""
        check_fitted(len(self._mean), content)
        return torch.from_numpy(np.ascontiguousarray(content, dtype=np.float32)) - self._mean

    def _quantize(self, content: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        """Codes ``(n, levels)`` and the residual after the last ``(n, d_content)``."""
        residual = self._centred(content)
        codes = []
        for centres, price in zip(self._codebooks, self._prices, strict=True):
            chosen = nearest(residual, centres, price)
            residual = residual - centres[chosen]
            codes.append(chosen)
        return torch.stack(codes, 1), residual
