"""The LETTER tokenizer (section 4.2): an RQ-VAE whose codes also carry collaborative signals.

With ``alpha = beta = 0`` it is TIGER's RQ-VAE. `losses` has the equations, `rqvae` the network, and
`fitting` what happens around each epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray

from letterrec.errors import RunError
from letterrec.files import write_json
from letterrec.files.tensors import read_tensors, write_tensors
from letterrec.identifiers.collisions import resolve
from letterrec.tokenizers.base import (
    Codes,
    Items,
    Tokenizer,
    check_cf,
    check_content,
    check_fitted,
    read_about,
)
from letterrec.tokenizers.fitting import SAMPLE, SCORED_EVERY, Fitting, prepare_cf
from letterrec.tokenizers.inputs import Inputs, InputScale
from letterrec.tokenizers.quantizer import Commitment
from letterrec.tokenizers.rqvae import (
    RQVAE,
    LevelLoss,
    codes_of,
    inputs_of,
    latents_of,
    quantized_of,
    reconstruction_error_of,
)
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.devices import set_seed
from letterrec.training.loop import train
from letterrec.training.options import TrainingOptions

_OF_THE_NETWORK = (
    *("levels", "codes", "dim", "mu", "alpha", "beta"),
    *("linear_path", "level_loss", "commitment"),
)


class LetterTokenizer(Tokenizer):
    """Learns codes from content and CF embeddings.

    The semantic embedding s is the content embedding, joined by the CF embedding unless
    ``fuse_cf`` is off (`Inputs`). For eq. 3, CF embeddings are smoothed over their neighbours and
    brought to one scale (`prepare_cf`). So nothing depends on the scale of encoder and CF model.

    Training has three parts: an autoencoder without codes (15 % of the epochs), whose latents
    initialise the codebooks by residual k-means; then eq. 5, codes that no item chooses being
    revived before each epoch until 75 % of the epochs; then eq. 5 alone.

    So the defaults; the paper's way is ``fuse_cf=False, cf_target="raw", input_scale="raw",
    level_loss="mean", commitment="first", linear_path=False, codes_from=0, revive_until=0,
    selection="collisions"``, as in the recipe ``paper-letter-tiger``. There alpha and beta mean
    what they mean in the paper.

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
        cf_target: what eq. 3 contrasts, CF embeddings ``"smoothed"`` (`prepare_cf`) or ``"raw"``.
        input_scale: of content (and CF) embeddings as the encoder reads them, see `Inputs`.
        level_loss: whether eq. 2 and eq. 4 are the ``"sum"`` over the levels or the ``"mean"``.
        commitment: whose commitment, eq. 2, moves the encoder: that of ``"all"`` levels or of the
            ``"first"``.
        linear_path: whether encoder and decoder have a linear path beside their layers.
        codes_from: share of the epochs before there are codes; 0 initialises the codebooks on the
            first latents.
        revive_until: share of the epochs until which unused codes are revived; 0 revives none.
        selection: the weights that are kept: those of the highest ``"score"``
            (`Fitting.validate`), or of the fewest ``"collisions"``.
    """

    name = "letter"

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
        cf_target: Literal["smoothed", "raw"] = "smoothed",
        input_scale: InputScale = "unit",
        level_loss: LevelLoss = "sum",
        commitment: Commitment = "all",
        linear_path: bool = True,
        codes_from: float = 0.15,
        revive_until: float = 0.75,
        selection: Literal["score", "collisions"] = "score",
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
            "cf_target": cf_target,
            "input_scale": input_scale,
            "level_loss": level_loss,
            "commitment": commitment,
            "linear_path": linear_path,
            "codes_from": codes_from,
            "revive_until": revive_until,
            "selection": selection,
        }
        self.log = TrainingLog()
        self._network: RQVAE | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes per level, of which all have as many."""
        return (int(self.settings["codes"]),) * int(self.settings["levels"])

    @property
    def codebooks(self) -> NDArray[np.float32]:
        """float32 ``(levels, codes, dim)``."""
        return self._fitted().quantizer.codebooks.detach().cpu().numpy()

    def fit(self, items: Items, options: TrainingOptions) -> Self:
        """Train on a catalogue and keep the weights that ``selection`` asks for.

        An epoch has at least 12 steps, so that a small catalogue is passed several times.

        Args:
            items: content float32 ``(n, d_content)``; CF float32 ``(n, dim)``, needed unless
                ``alpha`` is 0.
            options: of the training; what selects the weights, and how often, is decided here.

        Raises:
            SettingsError: the CF embeddings are missing, or the shapes do not fit.
        """
        content, cf = items.content, items.cf
        check_content(content)
        if self._alpha > 0:
            check_cf(cf, len(content), self.settings["dim"], self._alpha)
        options = options.sized(len(content))
        set_seed(options.seed)
        d_cf = 0 if cf is None or not self.settings["fuse_cf"] else cf.shape[1]
        network = self._build(content.shape[1], d_cf)
        network.inputs.measure(content, cf)
        inputs = inputs_of(network, content, cf)
        sample = np.random.default_rng(options.seed).permutation(len(inputs))[:SAMPLE]
        network.start_linear(torch.from_numpy(inputs[sample]))
        fitting = Fitting(
            network,
            inputs,
            self._cf_target(cf),
            options.epochs,
            options.batch_size,
            self.settings["clusters"],
            options.seed,
            self.settings["codes_from"],
            self.settings["revive_until"],
        )
        criterion = {"score": "score", "collisions": "distinct"}[self.settings["selection"]]
        self.log = train(
            network,
            batches=fitting.batches,
            collate=fitting.collate,
            options=replace(options, criterion=criterion, every=SCORED_EVERY),
            validate=fitting.validate,
            before_epoch=fitting.before_epoch,
            stateful=fitting,
            label="tokenizer",
        )
        self._network = network
        return self

    def quantize(self, items: Items) -> Codes:
        """int32 ``(n, levels)``: the codes of items as they come (eq. 1)."""
        return self.codes_and_latents(items)[0]

    def codes_and_latents(self, items: Items) -> tuple[Codes, NDArray[np.float32]]:
        """The codes of `quantize`, and float32 ``(n, dim)`` what the encoder makes of items."""
        network = self._fitted(items.content)
        latents = latents_of(network, inputs_of(network, items.content, items.cf))
        return codes_of(network, latents), latents.cpu().numpy()

    def assign(self, items: Items, taken: Codes | None = None) -> Codes:
        """int32 ``(n, levels)``: one identifier per item, none shared, none in ``taken``.

        Raises:
            IdentifierError: there are fewer identifiers than items.
        """
        return resolve(*self.codes_and_latents(items), self.codebooks, taken=taken)

    def quantized(self, items: Items) -> NDArray[np.float32]:
        """float32 ``(n, dim)``: z_hat, the sum of the codes that `quantize` gives."""
        return quantized_of(self.codebooks, self.quantize(items))

    def reconstruction_error(self, items: Items) -> float:
        """Squared error of the decoded inputs, as a share of their variance around the mean."""
        network = self._fitted(items.content)
        return reconstruction_error_of(network, inputs_of(network, items.content, items.cf))

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
        about = read_about(folder, cls.name)
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
        own = {name: self.settings[name] for name in _OF_THE_NETWORK}
        inputs = Inputs(d_content, d_cf, self.settings["input_scale"])
        return RQVAE(inputs=inputs, hidden=tuple(self.settings["hidden"]), **own)

    def _cf_target(self, cf: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """CF embeddings ``(n, dim)`` as eq. 3 takes them; None where it takes none."""
        if cf is None or self._alpha == 0:
            return None
        if self.settings["cf_target"] == "raw":
            return np.asarray(cf, dtype=np.float32)
        return prepare_cf(cf)

    def _fitted(self, content: NDArray[np.float32] | None = None) -> RQVAE:
        check_fitted(0 if self._network is None else self._network.inputs.d_content, content)
        assert self._network is not None
        return self._network
