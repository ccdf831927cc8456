"""How the LETTER tokenizer is fitted: what happens before, in and after each epoch.

The targets of eq. 3, when codebooks are initialised and revived, and which weights are kept.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.embeddings.similarity import nearest, unit
from letterrec.identifiers.diagnostics import collision_rate
from letterrec.tokenizers import losses
from letterrec.tokenizers.kmeans import constrained_clusters
from letterrec.tokenizers.rqvae import (
    RQVAE,
    codes_of,
    latents_of,
    quantized_of,
    reconstruction_error_of,
)
from letterrec.training.steps import Rows

SAMPLE = 65_536  # items that linear paths and codebooks are found on, at most
_BLOCK = 1024  # items whose neighbours are averaged at a time
_CF_SCALE = 0.05  # root mean square of the CF embeddings in eq. 3: small, its softmax stays soft
_CF_NEIGHBOURS = 10  # over which CF embeddings are smoothed, at most
_SCORED = 2048  # items whose reconstruction is scored, at most
SCORED_EVERY = 5  # epochs
_FEWEST_STEPS = 12  # of an epoch: a small catalogue is passed several times


def prepare_cf(cf: NDArray[np.float32]) -> NDArray[np.float32]:
    """CF embeddings ``(n, d)`` as eq. 3 takes them: directions, smoothed over neighbours, small.

    Eq. 3 contrasts an item with all others of the batch, its CF neighbours too: the better it is
    fitted, the farther it drives neighbours apart, and the fewer codes they share. So each item
    gets the mean direction of its nearest neighbours by cosine (itself included): what they have
    in common is kept, what sets them apart is not. And as the softmax of small products is soft,
    embeddings are scaled to a root mean square of 0.05; centring does not change eq. 3.

    Neighbours are those of `similarity.nearest`: in large catalogues a few of them are missed.
    """
    centred = np.asarray(cf - cf.mean(0, dtype=np.float64), dtype=np.float32)
    directions = unit(centred)  # (n, d)
    k = max(1, min(_CF_NEIGHBOURS, len(cf) // 100))
    rows, _ = nearest(directions, directions, k)  # (n, k)
    smoothed = np.empty_like(directions)
    for start in range(0, len(directions), _BLOCK):
        part = slice(start, start + _BLOCK)
        smoothed[part] = directions[rows[part]].mean(1)
    smoothed -= smoothed.mean(0)
    scale = float(np.sqrt(np.square(smoothed).mean()))
    return np.asarray(smoothed * (_CF_SCALE / scale if scale > 0 else 1.0), dtype=np.float32)


class Fitting:
    """What `training.loop.train` asks for while a tokenizer is fitted."""

    def __init__(
        self,
        network: RQVAE,
        inputs: NDArray[np.float32],
        cf: NDArray[np.float32] | None,
        epochs: int,
        batch_size: int,
        clusters: int,
        seed: int,
        codes_from: float,
        revive_until: float,
    ) -> None:
        self._network, self._inputs, self._cf = network, inputs, cf
        self._batch_size, self._clusters, self._seed = batch_size, clusters, seed
        self._first_with_codes = min(round(epochs * codes_from), epochs - 1)
        self._last_revival = round(epochs * revive_until)

    def batches(self, epoch: int) -> list[Rows]:
        """Passes over the items in random order until there are enough steps."""
        random_state = np.random.default_rng([self._seed, epoch])
        n = len(self._inputs)
        per_pass = -(-n // self._batch_size)
        passes = -(-_FEWEST_STEPS // per_pass)
        orders = [random_state.permutation(n) for _ in range(passes)]
        return [rows for order in orders for rows in np.array_split(order, per_pass)]

    def collate(self, rows: Rows) -> tuple[Tensor, ...]:
        """Inputs and CF embeddings of a batch."""
        arrays = [self._inputs] if self._cf is None else [self._inputs, self._cf]
        return tuple(torch.from_numpy(a[rows]) for a in arrays)

    def before_epoch(self, epoch: int) -> None:
        """Initialise the codebooks or revive dead codes; cluster the codes."""
        network = self._network
        network.with_codes = epoch >= self._first_with_codes
        if not network.with_codes:
            return
        with torch.no_grad():
            if epoch == self._first_with_codes:
                network.quantizer.initialise(self._latents())
            elif epoch <= self._last_revival:
                network.quantizer.revive(self._latents())
            if network.beta > 0:
                for level, codebook in enumerate(network.quantizer.codebooks):
                    network.clusters[level] = constrained_clusters(codebook, self._clusters)

    def _latents(self) -> Tensor:
        """float32 ``(n, dim)``: of all items, or of a random sample where there are many."""
        sample = self._inputs
        if len(sample) > SAMPLE:
            sample = sample[torch.randperm(len(sample))[:SAMPLE].numpy()]
        return latents_of(self._network, sample)

    def state_dict(self) -> dict[str, Any]:
        """What `before_epoch` sets and the network's weights do not hold."""
        network = self._network
        return {"with_codes": network.with_codes, "clusters": network.clusters.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set it again, to go on within an epoch."""
        self._network.with_codes = state["with_codes"]
        self._network.clusters.copy_(torch.tensor(state["clusters"]))

    def validate(self) -> dict[str, float]:
        """What may select the weights, the score or the share of distinct codes, and its parts.

        ``score = kept * share of codes used * (1 - collision rate)``, all between 0 and 1: a
        tokenizer that is bad in any of them is bad. ``kept`` is the share of the inputs'
        variance that the decoder restores from the codes; with CF embeddings, the mean of it and
        of ``1 - L_CF / log n``, the share of the choice of eq. 3 among ``n`` items that the codes
        settle. Both are measured on a sample. Before there are codes the score is NaN, which any
        later score replaces.
        """
        if not self._network.with_codes:
            return {"score": math.nan, "distinct": math.nan}
        codes = codes_of(self._network, latents_of(self._network, self._inputs))
        sample = np.random.default_rng(self._seed).permutation(len(codes))[:_SCORED]
        metrics = {
            "reconstruction_error": reconstruction_error_of(self._network, self._inputs[sample])
        }
        kept = max(0.0, 1 - metrics["reconstruction_error"])
        if self._cf is not None and len(sample) > 1:
            books = self._network.quantizer.codebooks.detach().cpu()
            quantized = torch.from_numpy(quantized_of(books.numpy(), codes[sample]))
            loss = float(losses.collaborative_loss(quantized, torch.from_numpy(self._cf[sample])))
            metrics["collaborative"] = loss
            kept = (kept + max(0.0, 1 - loss / math.log(len(sample)))) / 2
        possible = min(self._network.quantizer.codebooks.shape[1], len(codes))
        used = float(np.mean([len(np.unique(level)) / possible for level in codes.T]))
        collisions = collision_rate(codes)
        score = kept * used * (1 - collisions)
        metrics |= {"codes_used": used, "collision_rate": collisions, "distinct": 1 - collisions}
        return {"score": score, **metrics}
