"""What a run has learned, written and read: embeddings, tokenizer, weights, ranks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.data.dataset import Dataset
from letterrec.evaluation.metrics import Ranks
from letterrec.files import fingerprint, refuse_damaged
from letterrec.files.tensors import read_matrix, read_tensors, write_tensors
from letterrec.linear.transitions import Transitions
from letterrec.nn.sasrec import SASRec
from letterrec.runs.artefacts import Artefacts
from letterrec.runs.layout import EmbeddingKind
from letterrec.tokenizers import Tokenizer, load_tokenizer
from letterrec.training.checkpoints import TrainingLog, read_log


class Learned(Artefacts):
    """A run's artefacts, with those that are tensors."""

    def save_embeddings(
        self, kind: EmbeddingKind, values: NDArray[np.float32], dataset: Dataset
    ) -> None:
        """Keep float32 ``(n_items, d)`` embeddings with the fingerprint of the item ids."""
        about = {"items": fingerprint(dataset.item_ids)}
        path = self.files.embeddings(kind)
        write_tensors(path, {"embeddings": torch.from_numpy(values)}, about)

    def embeddings(self, kind: EmbeddingKind, n_items: int) -> NDArray[np.float32] | None:
        """Embeddings float32 ``(n_items, d)`` of a kind; None where the run has none.

        Raises:
            RunError: they are damaged, or not of so many items.
        """
        path = self.files.embeddings(kind)
        return read_matrix(path, n_items) if path.exists() else None

    def save_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Keep a fitted tokenizer."""
        tokenizer.save(self.files.tokenizer)

    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer.

        Raises:
            RunError: it has none of its own, or its files are damaged.
        """
        return load_tokenizer(self.files.tokenizer)

    def save_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Keep what training the recommender has decided."""
        write_tensors(self.weights_path, weights)

    def save_preferred(self, weights: Mapping[str, Tensor]) -> None:
        """Keep what training on preferences has made of the recommender."""
        write_tensors(self.files.preference, weights)

    def weights(self) -> dict[str, Tensor]:
        """The weights of the trained recommender.

        Raises:
            RunError: they are missing or damaged.
        """
        self.require("recommender")
        return read_tensors(self.weights_path)[0]

    def save_transitions(self, transitions: Transitions, dataset: Dataset) -> None:
        """Keep the item-to-item weights."""
        about = {"items": fingerprint(dataset.item_ids)}
        transitions.save(self.files.transitions, about)

    def transitions(self, n_items: int) -> Transitions | None:
        """The item-to-item weights of so many items; None where the run does without.

        Raises:
            RunError: the file is missing or damaged, or of other items.
        """
        path = self.files.transitions
        if not self.settings.transitions.enabled:
            return None
        with refuse_damaged(path):
            found = Transitions.load(path)
            if found.n_items != n_items:
                raise ValueError(f"{found.n_items} items, the run has {n_items}")
        return found

    def save_wishes(self, weights: Mapping[str, Tensor]) -> None:
        """Keep what training the reader of wishes has decided."""
        write_tensors(self.files.wishes, weights)

    def wishes(self) -> dict[str, Tensor]:
        """The weights of the trained reader of wishes.

        Raises:
            RunError: they are missing or damaged.
        """
        self.require("wishes")
        return read_tensors(self.files.wishes)[0]

    def save_ranks(self, ranks: Mapping[str, Ranks], dataset: Dataset) -> None:
        """Keep the ranks ``(n_cases,)`` of a split's targets, by the split's name."""
        tensors = {split: torch.from_numpy(r.astype(np.int32)) for split, r in ranks.items()}
        about = {"data": dataset.fingerprint}
        write_tensors(self.files.ranks, tensors, about)

    def save_sasrec(self, model: SASRec, dataset: Dataset) -> None:
        """Keep the SASRec that the CF embeddings are from."""
        model.save(self.files.sasrec, dataset.item_ids)

    def sasrec(self, dataset: Dataset) -> SASRec:
        """The SASRec that the CF embeddings are from, in eval mode.

        Raises:
            RunError: none was trained here, or its file is damaged.
        """
        return SASRec.load(self.files.sasrec, dataset.item_ids)

    def training_log(self, stage: str) -> TrainingLog:
        """How a stage's training went.

        Raises:
            RunError: it trained nothing, or its checkpoint was deleted or damaged.
        """
        return read_log(self.checkpoints(stage))
