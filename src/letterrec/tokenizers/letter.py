"""The LETTER tokenizer (section 4.2): an RQ-VAE whose codes also carry collaborative signals.

Knows the network, how its loss is put together, when codebooks are initialised and revived, and
which weights are kept. Leaves the equations to `losses`, the quantizer to `quantizer`, the loop
to `training` and uniqueness to `identifiers`. With ``alpha = beta = 0`` it is TIGER's RQ-VAE.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.errors import RunError
from letterrec.identifiers import collision_rate
from letterrec.store import read_json, read_tensors, write_json, write_tensors
from letterrec.tokenizers import losses
from letterrec.tokenizers.checks import check_cf, check_content, check_fitted
from letterrec.tokenizers.inputs import Inputs
from letterrec.tokenizers.kmeans import constrained_clusters
from letterrec.tokenizers.rqvae import RQVAE
from letterrec.training import Rows, TrainingLog, set_seed, train
from letterrec.uniqueness import resolve

_CHUNK = 8192  # items that are encoded at a time
_SAMPLE = (
    65_536  # items on which codebooks are initialised and revived, or CF neighbours sought, at most
)
_PLAIN = 0.15  # share of the epochs that train an autoencoder, before there are codes
_REVIVE = 0.75  # share of the epochs after which dead codes stay dead, so that codes settle
_CF_SCALE = 0.05  # root mean square of the CF embeddings in eq. 3: small, its softmax stays soft
_CF_NEIGHBOURS = 10  # over which CF embeddings are smoothed, at most
_SCORED = 2048  # items whose reconstruction is scored, at most
_SCORED_EVERY = 5  # epochs
_FEWEST_STEPS = 12  # of an epoch: a small catalogue is passed several times


class LetterTokenizer:
    """Learns codes from content and CF embeddings.

    The semantic embedding s is the content embedding, joined by the CF embedding unless
    ``fuse_cf`` is off (`Inputs`). For eq. 3, CF embeddings are smoothed over their neighbours and
    brought to one scale (`prepare_cf`). So nothing depends on the scale of encoder and CF model.

    Training has three parts: an autoencoder without codes (15 % of the epochs), whose latents
    initialise the codebooks by residual k-means; then eq. 5, codes that no item chooses being
    revived before each epoch until 75 % of the epochs; then eq. 5 alone.

    Args:
        levels: codes per identifier L.
        codes: codes per level N.
        dim: dimension d of latents and codes; that of the CF embeddings.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        mu: commitment, eq. 2.
        alpha: strength of the collaborative term, eq. 5.
        beta: strength of the diversity term, eq. 5.
        clusters: K, clusters of codes in eq. 4.
        fuse_cf: whether the encoder reads CF embeddings too, where there are any; the paper's
            reads content alone.
        sinkhorn_epsilon: of the re-assignment of colliding items.
        sinkhorn_iterations: of the re-assignment of colliding items.
    """

    def __init__(
        self,
        *,
        levels: int = 4,
        codes: int = 256,
        dim: int = 32,
        hidden: Iterable[int] = (512, 256, 128),
        mu: float = 0.25,
        alpha: float = 0.02,
        beta: float = 1e-4,
        clusters: int = 10,
        fuse_cf: bool = True,
        sinkhorn_epsilon: float = 0.003,
        sinkhorn_iterations: int = 50,
    ) -> None:
        self.settings: dict[str, Any] = {
            "levels": levels,
            "codes": codes,
            "dim": dim,
            "hidden": list(hidden),
            "mu": mu,
            "alpha": alpha,
            "beta": beta,
            "clusters": clusters,
            "fuse_cf": fuse_cf,
            "sinkhorn_epsilon": sinkhorn_epsilon,
            "sinkhorn_iterations": sinkhorn_iterations,
        }
        self.log = TrainingLog()
        self._network: RQVAE | None = None

    @property
    def codebooks(self) -> NDArray[np.float32]:
        """float32 ``(levels, codes, dim)``."""
        return self._fitted().quantizer.codebooks.detach().cpu().numpy()

    def fit(
        self,
        content: NDArray[np.float32],
        cf: NDArray[np.float32] | None,
        *,
        seed: int = 0,
        folder: Path | None = None,
        epochs: int = 30,
        batch_size: int = 1024,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        warmup: float = 0.05,
        clip: float = 1.0,
        patience: int = 30,
    ) -> Self:
        """Train on a catalogue and keep the weights with the highest score (`_Fitting.validate`).

        Args:
            content: float32 ``(n, d_content)``.
            cf: float32 ``(n, dim)``; None if ``alpha`` is 0.
            seed: decides every random choice.
            folder: for checkpoints; training resumes from one that is there.
            epochs: at most; an epoch has at least 12 steps, so that a small catalogue is passed
                several times.
            batch_size: items per step, at most.
            learning_rate: see `training.train`, as for the remaining settings.
            weight_decay: of AdamW.
            warmup: share of the steps.
            clip: largest norm of the gradient.
            patience: epochs without gain after which training stops.

        Raises:
            SettingsError: the CF embeddings are missing, or the shapes do not fit.
        """
        check_content(content)
        if self._alpha > 0:
            check_cf(cf, len(content), self.settings["dim"], self._alpha)
        set_seed(seed)
        d_cf = 0 if cf is None or not self.settings["fuse_cf"] else cf.shape[1]
        network = self._build(content.shape[1], d_cf)
        network.inputs.measure(content, cf)
        inputs = _inputs(network, content, cf)
        sample = np.random.default_rng(seed).permutation(len(inputs))[:_SAMPLE]
        network.start_linear(torch.from_numpy(inputs[sample]))
        scaled = prepare_cf(cf) if cf is not None and self._alpha > 0 else None
        fitting = _Fitting(
            network, inputs, scaled, epochs, batch_size, self.settings["clusters"], seed
        )
        self.log = train(
            network,
            batches=fitting.batches,
            collate=fitting.collate,
            epochs=epochs,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup=warmup,
            clip=clip,
            patience=patience,
            validate=fitting.validate,
            criterion="score",
            every=_SCORED_EVERY,
            before_epoch=fitting.before_epoch,
            seed=seed,
            folder=folder,
            label="tokenizer",
        )
        self._network = network
        return self

    def quantize(
        self, content: NDArray[np.float32], cf: NDArray[np.float32] | None = None
    ) -> NDArray[np.int32]:
        """int32 ``(n, levels)``: the codes of items as they come (eq. 1).

        Several items may share all their codes; see `assign`, also for the arguments.
        """
        return _codes(self._fitted(), self._latents(content, cf))

    def assign(
        self,
        content: NDArray[np.float32],
        taken: NDArray[np.int32] | None = None,
        cf: NDArray[np.float32] | None = None,
    ) -> NDArray[np.int32]:
        """One identifier per item, none of them shared or in ``taken``.

        Args:
            content: float32 ``(n, d_content)``, of any items, seen in training or not.
            taken: int32 ``(m, levels)`` identifiers that other items have.
            cf: float32 ``(n, dim)``, row for row; None for items that have none yet.

        Returns:
            int32 ``(n, levels)``.

        Raises:
            IdentifierError: there are fewer identifiers than items.
        """
        latents = self._latents(content, cf)
        return resolve(
            _codes(self._fitted(), latents),
            latents.cpu().numpy(),
            self.codebooks,
            taken=taken,
            epsilon=self.settings["sinkhorn_epsilon"],
            iterations=self.settings["sinkhorn_iterations"],
        )

    def quantized(
        self, content: NDArray[np.float32], cf: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """float32 ``(n, dim)``: z_hat, the sum of the codes that `quantize` gives."""
        return _quantized(self.codebooks, self.quantize(content, cf))

    def reconstruction_error(
        self, content: NDArray[np.float32], cf: NDArray[np.float32] | None = None
    ) -> float:
        """Squared error of the decoded inputs, as a share of their variance around the mean."""
        network = self._fitted(content)
        return _reconstruction_error(network, _inputs(network, content, cf))

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and ``tokenizer.safetensors`` into a folder."""
        network = self._fitted()
        write_tensors(folder / "tokenizer.safetensors", network.state_dict())
        dims = {"d_content": network.inputs.d_content, "d_cf": network.inputs.d_cf}
        about = {"name": "letter", **dims, **self.settings}
        write_json(folder / "tokenizer.json", about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; the tokenizer gives the same codes.

        Raises:
            RunError: the files are missing, damaged or of another tokenizer.
        """
        about = read_json(folder / "tokenizer.json")
        if about.pop("name") != "letter":
            raise RunError(f"{folder} holds another tokenizer; load it with load_tokenizer")
        d_content, d_cf = about.pop("d_content"), about.pop("d_cf")
        tokenizer = cls(**about)
        network = tokenizer._build(d_content, d_cf)
        tensors, _ = read_tensors(folder / "tokenizer.safetensors")
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            problem = str(error).splitlines()[-1].strip()
            raise RunError(f"{folder}/tokenizer.safetensors: {problem}; fit it again") from None
        tokenizer._network = network.eval()
        return tokenizer

    @property
    def _alpha(self) -> float:
        return float(self.settings["alpha"])

    def _build(self, d_content: int, d_cf: int) -> RQVAE:
        names = ("levels", "codes", "dim", "mu", "alpha", "beta")
        own = {name: self.settings[name] for name in names}
        hidden = tuple(self.settings["hidden"])
        return RQVAE(inputs=Inputs(d_content, d_cf), hidden=hidden, **own)

    def _fitted(self, content: NDArray[np.float32] | None = None) -> RQVAE:
        check_fitted(0 if self._network is None else self._network.inputs.d_content, content)
        assert self._network is not None
        return self._network

    def _latents(self, content: NDArray[np.float32], cf: NDArray[np.float32] | None) -> Tensor:
        network = self._fitted(content)
        return _latents(network, _inputs(network, content, cf))


def prepare_cf(cf: NDArray[np.float32]) -> NDArray[np.float32]:
    """CF embeddings ``(n, d)`` as eq. 3 takes them: directions, smoothed over neighbours, small.

    Eq. 3 contrasts an item with all others of the batch, its CF neighbours too: the better it is
    fitted, the farther it drives neighbours apart, and the fewer codes they share. So each item
    gets the mean direction of its nearest neighbours by cosine (itself included): what they have
    in common is kept, what sets them apart is not. And as the softmax of small products is soft,
    embeddings are scaled to a root mean square of 0.05; centring does not change eq. 3.

    Neighbours are sought among at most 65,536 items, so that the cost is linear in ``n``.
    """
    centred = np.asarray(cf - cf.mean(0, dtype=np.float64), dtype=np.float32)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    directions = centred / np.where(norms > 0, norms, 1)  # (n, d)
    k = max(1, min(_CF_NEIGHBOURS, len(cf) // 100))
    pool = directions
    if len(pool) > _SAMPLE:
        pool = pool[np.random.default_rng(0).choice(len(pool), _SAMPLE, replace=False)]
    smoothed = np.empty_like(directions)
    for start in range(0, len(directions), 1024):
        rows = directions[start : start + 1024]
        nearest = np.argpartition(-(rows @ pool.T), k - 1, axis=1)[:, :k]  # (rows, k)
        smoothed[start : start + 1024] = pool[nearest].mean(1)
    smoothed -= smoothed.mean(0)
    scale = float(np.sqrt(np.square(smoothed).mean()))
    return np.asarray(smoothed * (_CF_SCALE / scale if scale > 0 else 1.0), dtype=np.float32)


class _Fitting:
    """What `training.train` asks for while a tokenizer is fitted."""

    def __init__(
        self,
        network: RQVAE,
        inputs: NDArray[np.float32],
        cf: NDArray[np.float32] | None,
        epochs: int,
        batch_size: int,
        clusters: int,
        seed: int,
    ) -> None:
        self._network, self._inputs, self._cf = network, inputs, cf
        self._batch_size, self._clusters, self._seed = batch_size, clusters, seed
        self._first_with_codes = min(round(epochs * _PLAIN), epochs - 1)
        self._last_revival = round(epochs * _REVIVE)

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
            if epoch <= self._last_revival:
                sample = self._inputs
                if len(sample) > _SAMPLE:
                    sample = sample[torch.randperm(len(sample))[:_SAMPLE].numpy()]
                latents = _latents(network, sample)  # (n, dim)
                if epoch == self._first_with_codes:
                    network.quantizer.initialise(latents)
                else:
                    network.quantizer.revive(latents)
            if network.beta > 0:
                for level, codebook in enumerate(network.quantizer.codebooks):
                    network.clusters[level] = constrained_clusters(codebook, self._clusters)

    def validate(self) -> dict[str, float]:
        """The score that selects the weights, and what it is made of.

        ``score = kept * share of codes used * (1 - collision rate)``, all between 0 and 1: a
        tokenizer that is bad in any of them is bad. ``kept`` is the share of the inputs'
        variance that the decoder restores from the codes; with CF embeddings, the mean of it and
        of ``1 - L_CF / log n``, the share of the choice of eq. 3 among ``n`` items that the codes
        settle. Both are measured on a sample. Before there are codes the score is NaN, which any
        later score replaces.
        """
        if not self._network.with_codes:
            return {"score": math.nan}
        codes = _codes(self._network, _latents(self._network, self._inputs))
        sample = np.random.default_rng(self._seed).permutation(len(codes))[:_SCORED]
        metrics = {
            "reconstruction_error": _reconstruction_error(self._network, self._inputs[sample])
        }
        kept = max(0.0, 1 - metrics["reconstruction_error"])
        if self._cf is not None and len(sample) > 1:
            books = self._network.quantizer.codebooks.detach().cpu()
            quantized = torch.from_numpy(_quantized(books.numpy(), codes[sample]))
            loss = float(losses.collaborative_loss(quantized, torch.from_numpy(self._cf[sample])))
            metrics["collaborative"] = loss
            kept = (kept + max(0.0, 1 - loss / math.log(len(sample)))) / 2
        possible = min(self._network.quantizer.codebooks.shape[1], len(codes))
        used = float(np.mean([len(np.unique(level)) / possible for level in codes.T]))
        collisions = collision_rate(codes)
        score = kept * used * (1 - collisions)
        return {"score": score, **metrics, "codes_used": used, "collision_rate": collisions}


def _quantized(codebooks: NDArray[np.float32], codes: NDArray[np.int32]) -> NDArray[np.float32]:
    """float32 ``(n, dim)``: the sum of each row's codes."""
    chosen = codebooks[np.arange(len(codebooks)), codes]  # (n, levels, dim)
    return np.asarray(chosen.sum(1), dtype=np.float32)


def _inputs(
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
def _latents(network: RQVAE, inputs: NDArray[np.float32]) -> Tensor:
    """float32 ``(n, dim)``: encoded inputs, on the network's device."""
    return torch.cat([network.encoder(chunk) for chunk in _chunks(network, inputs)])


@torch.no_grad()
def _codes(network: RQVAE, latents: Tensor) -> NDArray[np.int32]:
    """int32 ``(n, levels)``: codes of latents ``(n, dim)``."""
    return np.asarray(network.quantizer(latents)[1].cpu().numpy(), dtype=np.int32)


@torch.no_grad()
def _reconstruction_error(network: RQVAE, inputs: NDArray[np.float32]) -> float:
    error, variance = 0.0, 0.0
    for chunk in _chunks(network, inputs):
        quantized = network.quantizer(network.encoder(chunk))[0]
        error += float((network.decoder(quantized) - chunk).square().sum())
        variance += float(chunk.square().sum())
    return error / variance if variance > 0 else 0.0
