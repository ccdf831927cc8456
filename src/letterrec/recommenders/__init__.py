"""Recommenders: histories -> the codes of the next item.

Adding one is one file with a class that keeps to `Recommender`, and one line in `RECOMMENDERS`;
`tests/contract_recommender.py` says what it must do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from letterrec.data.dataset import Histories
from letterrec.decoding.beam_search import Decoder
from letterrec.identifiers.identifiers import Identifiers
from letterrec.recommenders.lcrec.model import LcRec
from letterrec.recommenders.rqt import Rqt
from letterrec.recommenders.tiger import Tiger
from letterrec.training.checkpoints import TrainingLog


class Recommender(Protocol):
    """What the pipeline and beam search need of a recommender, which is also an `nn.Module`.

    It is built from the identifiers (and content embeddings) of a catalogue and flat keywords;
    `state_dict` holds all that training decides. One that sets ``reads_text`` is also given the
    catalogue's ``titles`` and ``texts``.
    """

    max_history: int

    def fit(
        self,
        histories: Histories,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
        folder: Path | None = None,
        seed: int = 0,
        **training: Any,
    ) -> TrainingLog:
        """Train on sequences of item rows; ``training`` are keywords of `training.train`."""

    def encode(self, histories: Tensor) -> Decoder:
        """Read each history once: int64 ``(batch, longest)`` item rows, left-aligned, -1 padded."""

    def set_catalogue(self, identifiers: Identifiers, content: Tensor | None = None) -> None:
        """Go on with the same items and possibly more behind them."""


RECOMMENDERS: dict[str, Callable[..., Any]] = {
    "rqt": Rqt,
    "tiger": Tiger,
    "lcrec": LcRec,
}
