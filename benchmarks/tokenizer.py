"""The LETTER tokenizer against the per-row way of public code, on Beauty: per step and in total.

Both sides quantize the same standardised MiniLM embeddings of Beauty's texts (encoded once, then
cached), with the given CF embeddings, 4 levels of 256 codes, eq. 5 with its default weights. Ours
reads content alone here (`fuse_cf` off), so that both restore the same thing. Its seconds per step
are those of epochs with codes, clusters, revival and validation included; its total is the whole of
`LetterTokenizer.fit`, initialisation and the choice of the weights too.

The public way, written here from its description: a plain RQ-VAE, AdamW at a constant rate, the
positives of eq. 4 drawn and the items' own codes masked row by row in Python, codes of each level
clustered by constrained k-means with n_init=10 at each epoch, float32. In its favour, its
codebooks start from our residual k-means: constrained k-means takes minutes there. Its total of
20,000 epochs, the default of public code, is extrapolated from the seconds per epoch measured.

Needs LETTER's Beauty folder below the folder that LETTERREC_DATA names.

    LETTERREC_DATA=... python benchmarks/tokenizer.py [--epochs 30] [--repeats 3] [--json]
"""

from __future__ import annotations

import itertools
import json
import random
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from k_means_constrained import KMeansConstrained
from numpy.typing import NDArray
from torch import Tensor, nn

from letterrec.config.tokenizers import LetterSettings
from letterrec.embeddings.content import embed
from letterrec.identifiers.diagnostics import collision_rate
from letterrec.tokenizers import Items
from letterrec.tokenizers.kmeans import residual_kmeans
from letterrec.tokenizers.letter import LetterTokenizer
from letterrec.training.devices import has_bfloat16
from letterrec.training.options import TrainingOptions
from sides import circumstances, command_line, letter_data, parsed, ratio, take_turns, told

PUBLIC_EPOCHS = 20_000
DEFAULTS = LetterSettings()
Embeddings = NDArray[np.float32]


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--epochs", type=int, default=DEFAULTS.training.passes, help="of either side, in all"
    )
    arguments = parsed(parser)
    dataset, _ = letter_data("Beauty")
    if dataset.texts is None or dataset.given_cf is None:
        sys.exit("Beauty lacks item texts or CF embeddings; take LETTER's folder with both")
    content = standardised(embed(dataset.texts))
    ours = Ours(content, dataset.given_cf, arguments.epochs)
    public = Public(content, dataset.given_cf, arguments.epochs, arguments.repeats)
    Ours(content[:2000], dataset.given_cf[:2000], 2).turn()  # warm up: loads what training needs
    rates = take_turns({"ours": ours.turn, "public": public.turn}, arguments.repeats)
    result: dict[str, Any] = {"benchmark": "tokenizer", "items": len(content)}
    sides: tuple[tuple[str, Ours | Public], ...] = (("ours", ours), ("public", public))
    for name, side in sides:
        step = 1 / statistics.median(rates[name])
        result[name] = {
            "seconds_per_step": step,
            "epochs": arguments.epochs,
            **side.quality(),
        }
    result["ours"]["seconds"] = statistics.median(ours.seconds)
    per_epoch = result["public"]["seconds_per_step"] * public.steps_per_epoch
    result["public"]["seconds"] = per_epoch * arguments.epochs
    result["public"]["seconds_extrapolated"] = per_epoch * PUBLIC_EPOCHS
    result["ratio"] = ratio(rates["ours"], rates["public"])
    result["ratio_total_extrapolated"] = per_epoch * PUBLIC_EPOCHS / result["ours"]["seconds"]
    result |= circumstances("bfloat16 (ours)" if has_bfloat16() else "float32")
    print(json.dumps(result) if arguments.json else table(result))


def standardised(content: Embeddings) -> Embeddings:
    """Centred, with a mean square of 1."""
    centred = content - content.mean(0)
    return np.asarray(centred / np.sqrt(np.square(centred).mean()), dtype=np.float32)


class Ours:
    """`LetterTokenizer.fit` from its start to the weights it selects; a new seed each turn."""

    def __init__(self, content: Embeddings, cf: Embeddings, epochs: int) -> None:
        self._content, self._cf = content, cf
        self._training = DEFAULTS.training.options() | {"epochs": epochs}
        self._settings = DEFAULTS.model_dump(exclude={"name", "training", "fuse_cf"})
        self._settings |= DEFAULTS.code_space(len(content))._asdict()
        self.steps_per_epoch = max(12, -(-len(content) // self._training["batch_size"]))
        self._seed = 0
        self.seconds: list[float] = []  # of each turn, all told

    def turn(self) -> float:
        """Steps per second of the epochs with codes, but the one that initialises them."""
        started = time.perf_counter()
        self._tokenizer = LetterTokenizer(**self._settings, fuse_cf=False)
        self._tokenizer.fit(
            Items(self._content, self._cf), TrainingOptions(seed=self._seed, **self._training)
        )
        self.seconds.append(time.perf_counter() - started)
        self._seed += 1
        with_codes = [e["seconds"] for e in self._tokenizer.log.epochs if e["quantization"] > 0]
        per_second: float = self.steps_per_epoch / statistics.fmean(with_codes[1:])
        return per_second

    def quality(self) -> dict[str, Any]:
        """That of the last turn."""
        error = self._tokenizer.reconstruction_error(Items(self._content))
        return quality(error, self._tokenizer.quantize(Items(self._content)))


class Public(nn.Module):
    """The way of public code. It trains on from turn to turn."""

    def __init__(self, content: Embeddings, cf: Embeddings, epochs: int, turns: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self._content, self._cf = torch.from_numpy(content), torch.from_numpy(cf)
        self._ends: list[int] = np.linspace(0, epochs, turns + 1).round().astype(int).tolist()
        self._turn = 0
        widths = (content.shape[1], *DEFAULTS.hidden, DEFAULTS.dim)
        self.encoder, self.decoder = perceptron(widths), perceptron(widths[::-1])
        with torch.no_grad():
            books = residual_kmeans(
                self.encoder(self._content), levels=4, codes=DEFAULTS.usual["codes"]
            )
        self.codebooks = nn.ParameterList(nn.Parameter(book) for book in books)
        self._optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        self.steps_per_epoch = -(-len(content) // DEFAULTS.training.usual["batch_size"])

    def turn(self) -> float:
        """Steps per second over the next epochs."""
        epochs = self._ends[self._turn + 1] - self._ends[self._turn]
        self._turn += 1
        started = time.perf_counter()
        for _ in range(epochs):
            clusters = [cluster(book) for book in self.codebooks]
            order = torch.randperm(len(self._content))
            for rows in torch.split(order, DEFAULTS.training.usual["batch_size"]):
                loss = self._loss(self._content[rows], self._cf[rows], clusters)
                self._optimizer.zero_grad()
                torch.autograd.backward(loss)
                self._optimizer.step()
        return epochs * self.steps_per_epoch / (time.perf_counter() - started)

    def _loss(self, content: Tensor, cf: Tensor, clusters: list[list[int]]) -> Tensor:
        """Eq. 5."""
        latents = self.encoder(content)
        residual, quantized = latents, torch.zeros_like(latents)
        loss = latents.new_zeros(())
        for book, labels in zip(self.codebooks, clusters, strict=True):
            chosen = torch.cdist(residual, book).argmin(1)
            embedding = F.embedding(chosen, book)
            loss = loss + F.mse_loss(embedding, residual.detach())
            loss = loss + DEFAULTS.mu * F.mse_loss(residual, embedding.detach())
            loss = loss + DEFAULTS.beta * diversity(embedding, book, chosen, labels)
            residual, quantized = residual - embedding, quantized + embedding
        quantized = latents + (quantized - latents).detach()
        scores = quantized @ cf.T
        loss = loss + DEFAULTS.alpha * F.cross_entropy(scores, torch.arange(len(scores)))
        total: Tensor = loss + F.mse_loss(self.decoder(quantized), content)
        return total

    @torch.no_grad()
    def quality(self) -> dict[str, Any]:
        """After the last turn."""
        latents = self.encoder(self._content)
        residual, codes = latents, []
        for book in self.codebooks:
            codes.append(torch.cdist(residual, book).argmin(1))
            residual = residual - book[codes[-1]]
        error = (self.decoder(latents - residual) - self._content).square().sum()
        variance = self._content.square().sum()
        return quality(float(error / variance), torch.stack(codes, 1).int().numpy())


def diversity(embedding: Tensor, book: Tensor, codes: Tensor, labels: list[int]) -> Tensor:
    """Eq. 4, row by row: a random other code of the cluster against all but the item's own."""
    members: dict[int, list[int]] = {}
    for code, label in enumerate(labels):
        members.setdefault(label, []).append(code)
    scores = embedding @ book.T
    own = torch.zeros_like(scores)
    positives = []
    for row in range(len(codes)):
        own[row, codes[row]] = 1e12
        others = members[labels[codes[row]]]
        positive = random.choice(others)
        while positive == codes[row] and len(others) > 1:
            positive = random.choice(others)
        positives.append(positive)
    return F.cross_entropy(scores - own, torch.tensor(positives))


def cluster(book: Tensor) -> list[int]:
    """The cluster of each code of a level."""
    n, k = len(book), DEFAULTS.clusters
    model = KMeansConstrained(
        n_clusters=k, size_min=n // (2 * k), size_max=-(-2 * n // k), n_init=10, n_jobs=1
    )
    labels: list[int] = model.fit_predict(book.detach().double().numpy()).tolist()
    return labels


def perceptron(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with ReLU between."""
    layers: list[nn.Module] = []
    for width, following in itertools.pairwise(widths):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def quality(error: float, codes: NDArray[np.int32]) -> dict[str, Any]:
    """Reconstruction error, codes used per level and collision rate, before any resolution."""
    return {
        "reconstruction_error": error,
        "codes_used": [len(np.unique(level)) for level in codes.T],
        "collision_rate": collision_rate(codes),
    }


def table(result: dict[str, Any]) -> str:
    """The result as people read it."""
    lines = [f"{'':8}{'ms/step':>9}{'seconds':>9}{'error':>8}{'collisions':>12}  codes used"]
    for name in ("ours", "public"):
        side = result[name]
        lines.append(
            f"{name:8}{1000 * side['seconds_per_step']:9.1f}{side['seconds']:9.1f}"
            f"{side['reconstruction_error']:8.3f}{side['collision_rate']:12.2%}"
            f"  {', '.join(map(str, side['codes_used']))}"
        )
    lines += [
        f"ratio per step {result['ratio']:.1f}; {result['ours']['epochs']} epochs of each",
        f"public way for {PUBLIC_EPOCHS:,} epochs, extrapolated: "
        f"{result['public']['seconds_extrapolated'] / 3600:.1f} hours, "
        f"{result['ratio_total_extrapolated']:.0f} times ours",
        told(result),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
