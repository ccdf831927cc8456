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
from letterrec.tokenizers.kmeans import constrained_clusters
from letterrec.tokenizers.rqvae import RQVAE
from letterrec.training import Rows, TrainingLog, set_seed, train
from letterrec.uniqueness import resolve

_CHUNK = 8192  # items that are encoded at a time
_SAMPLE = 65_536  # items on which codebooks are initialised and refreshed, at most
_PLAIN = 0.15  # share of the epochs that train an autoencoder, before there are codes
_REFRESH = 0.75  # share of the epochs after which codes follow their gradient alone
_SCORED = 2048  # items whose reconstruction is scored, at most
_SCORED_EVERY = 5  # epochs
_FEWEST_STEPS = 12  # of an epoch: a small catalogue is passed several times


class LetterTokenizer:
    """Learns codes from content and CF embeddings.

    Content is standardised per dimension inside. CF embeddings are centred, which leaves eq. 3
    as it is (a softmax does not see a shift), and divided by their root mean square, so that
    ``alpha`` means the same whatever the scale of the CF model.

    Training has three parts: an autoencoder without codes (15 % of the epochs), whose latents
    initialise the codebooks by residual k-means; then eq. 5, every code moving to the mean of its
    residuals and dead codes being revived before each epoch, until 75 % of the epochs; then
    eq. 5 alone.

    Args:
        levels: codes per identifier L.
        codes: codes per level N.
        dim: dimension d of latents and codes; that of the CF embeddings.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        mu: commitment, eq. 2.
        alpha: strength of the collaborative term, eq. 5.
        beta: strength of the diversity term, eq. 5.
        clusters: K, clusters of codes in eq. 4.
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
        alpha: float = 1.0,
        beta: float = 1e-4,
        clusters: int = 10,
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
        epochs: int = 70,
        batch_size: int = 1024,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        warmup: float = 0.05,
        clip: float = 1.0,
        patience: int = 70,
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
        network = self._build(content.shape[1])
        network.content_mean.copy_(torch.from_numpy(content.mean(0, dtype=np.float64)))
        deviation = torch.from_numpy(content.std(0, dtype=np.float64))
        network.content_deviation.copy_(deviation.where(deviation > 1e-6 * deviation.max(), 1))
        scaled = normalise_cf(cf) if cf is not None and self._alpha > 0 else None
        fitting = _Fitting(
            network, content, scaled, epochs, batch_size, self.settings["clusters"], seed
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

    def quantize(self, content: NDArray[np.float32]) -> NDArray[np.int32]:
        """int32 ``(n, levels)``: the codes of content ``(n, d_content)`` as they come (eq. 1).

        Several items may share all their codes; see `assign`.
        """
        network = self._fitted(content)
        return _codes(network, _latents(network, content))

    def assign(
        self, content: NDArray[np.float32], taken: NDArray[np.int32] | None = None
    ) -> NDArray[np.int32]:
        """One identifier per item, none of them shared or in ``taken``.

        Args:
            content: float32 ``(n, d_content)``, of any items, seen in training or not.
            taken: int32 ``(m, levels)`` identifiers that other items have.

        Returns:
            int32 ``(n, levels)``.

        Raises:
            IdentifierError: there are fewer identifiers than items.
        """
        network = self._fitted(content)
        latents = _latents(network, content)
        return resolve(
            _codes(network, latents),
            latents.cpu().numpy(),
            self.codebooks,
            taken=taken,
            epsilon=self.settings["sinkhorn_epsilon"],
            iterations=self.settings["sinkhorn_iterations"],
        )

    def quantized(self, content: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 ``(n, dim)``: z_hat, the sum of the codes that `quantize` gives."""
        network = self._fitted(content)
        return _quantized(self.codebooks, _codes(network, _latents(network, content)))

    def reconstruction_error(self, content: NDArray[np.float32]) -> float:
        """Squared error of the decoded content, as a share of its variance around the mean."""
        return _reconstruction_error(self._fitted(content), content)

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and ``tokenizer.safetensors`` into a folder."""
        network = self._fitted()
        write_tensors(folder / "tokenizer.safetensors", network.state_dict())
        about = {"name": "letter", "d_content": len(network.content_mean), **self.settings}
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
        d_content = about.pop("d_content")
        tokenizer = cls(**about)
        network = tokenizer._build(d_content)
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

    def _build(self, d_content: int) -> RQVAE:
        names = ("levels", "codes", "dim", "mu", "alpha", "beta")
        own = {name: self.settings[name] for name in names}
        return RQVAE(d_content=d_content, hidden=tuple(self.settings["hidden"]), **own)

    def _fitted(self, content: NDArray[np.float32] | None = None) -> RQVAE:
        check_fitted(0 if self._network is None else len(self._network.content_mean), content)
        assert self._network is not None
        return self._network


def normalise_cf(cf: NDArray[np.float32]) -> NDArray[np.float32]:
    """CF embeddings ``(n, d)`` centred and divided by their root mean square.

    >>> normalise_cf(np.array([[0.0, 2.0], [4.0, 2.0]], dtype=np.float32)).tolist()
    [[-1.4142135381698608, 0.0], [1.4142135381698608, 0.0]]
    """
    centred = cf - cf.mean(0, dtype=np.float64)
    scale = float(np.sqrt(np.square(centred).mean()))
    return np.asarray(centred / (scale if scale > 0 else 1.0), dtype=np.float32)


class _Fitting:
    """What `training.train` asks for while a tokenizer is fitted."""

    def __init__(
        self,
        network: RQVAE,
        content: NDArray[np.float32],
        cf: NDArray[np.float32] | None,
        epochs: int,
        batch_size: int,
        clusters: int,
        seed: int,
    ) -> None:
        self._network, self._content, self._cf = network, content, cf
        self._batch_size, self._clusters, self._seed = batch_size, clusters, seed
        self._first_with_codes = min(round(epochs * _PLAIN), epochs - 1)
        self._last_refresh = round(epochs * _REFRESH)

    def batches(self, epoch: int) -> list[Rows]:
        """Passes over the items in random order until there are enough steps."""
        random_state = np.random.default_rng([self._seed, epoch])
        n = len(self._content)
        per_pass = -(-n // self._batch_size)
        passes = -(-_FEWEST_STEPS // per_pass)
        orders = [random_state.permutation(n) for _ in range(passes)]
        return [rows for order in orders for rows in np.array_split(order, per_pass)]

    def collate(self, rows: Rows) -> tuple[Tensor, ...]:
        """Content and CF embeddings of a batch."""
        arrays = [self._content] if self._cf is None else [self._content, self._cf]
        return tuple(torch.from_numpy(a[rows]) for a in arrays)

    def before_epoch(self, epoch: int) -> None:
        """Initialise or refresh the codebooks; cluster the codes."""
        network = self._network
        network.with_codes = epoch >= self._first_with_codes
        if not network.with_codes:
            return
        with torch.no_grad():
            if epoch <= self._last_refresh:
                sample = self._content
                if len(sample) > _SAMPLE:
                    sample = sample[torch.randperm(len(sample))[:_SAMPLE].numpy()]
                latents = _latents(network, sample)  # (n, dim)
                if epoch == self._first_with_codes:
                    network.quantizer.initialise(latents)
                else:
                    network.quantizer.refresh(latents)
            if network.beta > 0:
                for level, codebook in enumerate(network.quantizer.codebooks):
                    network.clusters[level] = constrained_clusters(codebook, self._clusters)

    def validate(self) -> dict[str, float]:
        """The score that selects the weights, and what it is made of.

        ``score = kept * share of codes used * (1 - collision rate)``, all between 0 and 1: a
        tokenizer that is bad in any of them is bad. ``kept`` is the share of the content's
        variance that the decoder restores from the codes; with CF embeddings, the mean of it and
        of ``1 - L_CF / log n``, the share of the choice of eq. 3 among ``n`` items that the codes
        settle. Both are measured on a sample. Before there are codes the score is NaN, which any
        later score replaces.
        """
        if not self._network.with_codes:
            return {"score": math.nan}
        codes = _codes(self._network, _latents(self._network, self._content))
        sample = np.random.default_rng(self._seed).permutation(len(codes))[:_SCORED]
        metrics = {
            "reconstruction_error": _reconstruction_error(self._network, self._content[sample])
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


def _chunks(network: RQVAE, content: NDArray[np.float32]) -> Iterator[Tensor]:
    """Standardised content, some thousand rows at a time (once without content), on the device."""
    for start in range(0, max(1, len(content)), _CHUNK):
        chunk = torch.from_numpy(np.ascontiguousarray(content[start : start + _CHUNK]))
        yield network.standardised(chunk.to(network.content_mean.device, torch.float32))


@torch.no_grad()
def _latents(network: RQVAE, content: NDArray[np.float32]) -> Tensor:
    """float32 ``(n, dim)``: encoded content, on the network's device."""
    return torch.cat([network.encoder(chunk) for chunk in _chunks(network, content)])


@torch.no_grad()
def _codes(network: RQVAE, latents: Tensor) -> NDArray[np.int32]:
    """int32 ``(n, levels)``: codes of latents ``(n, dim)``."""
    return np.asarray(network.quantizer(latents)[1].cpu().numpy(), dtype=np.int32)


@torch.no_grad()
def _reconstruction_error(network: RQVAE, content: NDArray[np.float32]) -> float:
    error, variance = 0.0, 0.0
    for chunk in _chunks(network, content):
        quantized = network.quantizer(network.encoder(chunk))[0]
        error += float((network.decoder(quantized) - chunk).square().sum())
        variance += float(chunk.square().sum())
    return error / variance if variance > 0 else 0.0
