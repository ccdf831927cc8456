"""What a run folder holds, written and read: data, embeddings, identifiers, weights, metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.config.settings import Settings
from letterrec.data.cold import ColdItems
from letterrec.data.dataset import Dataset
from letterrec.data.saved import read_dataset
from letterrec.data.splits import Split
from letterrec.errors import RunError
from letterrec.evaluation.metrics import Ranks
from letterrec.evaluation.results import Evaluation
from letterrec.files import fingerprint, refuse_damaged, write_json
from letterrec.files.tensors import read_matrix, read_tensors, write_tensors
from letterrec.identifiers.diagnostics import Diagnosis
from letterrec.identifiers.identifiers import Identifiers
from letterrec.linear.transitions import Transitions
from letterrec.nn.sasrec import SASRec
from letterrec.runs.layout import EmbeddingKind, Layout
from letterrec.runs.records import RunRecord, read_diagnostics, read_metrics
from letterrec.tokenizers import Tokenizer, load_tokenizer
from letterrec.training.checkpoints import TrainingLog, read_log


class Artefacts:
    """What the stages of a run have left in its folder.

    Args:
        folder: of the run; `layout` says what is where.
        settings: of the run.
        about: what run.json says.
    """

    def __init__(self, folder: Path, settings: Settings, about: RunRecord) -> None:
        self.folder = folder
        self.files = Layout(folder)
        self.settings = settings
        self.about = about

    def is_done(self, stage: str) -> bool:
        """Whether a stage's results are in the folder."""
        return stage in self.about["stages"]

    def require(self, stage: str) -> None:
        """Refuse to go on without a stage.

        Raises:
            RunError: it is not done.
        """
        if stage == "evaluation":
            self.refuse_learned()
        if not self.is_done(stage):
            raise RunError(
                f"{self.folder} is unfinished (stage {stage!r} is missing); finish it with: "
                f"letterrec fit {self.about['source']} --out {self.folder} --resume"
            )

    def refuse_learned(self) -> None:
        """Refuse to measure a run on interactions that it has learned.

        Raises:
            RunError: it was refitted on all of them.
        """
        if (refitted := self.about.get("refitted")) is not None:
            raise RunError(
                f"{self.folder} was refitted on all interactions, so that nothing is held out to "
                f"measure it by; what it does is measured on the run that chose its epochs and "
                f"strengths: letterrec evaluate {refitted['run']}"
            )

    @property
    def data_fingerprint(self) -> str | None:
        """Of the data that the run was made from; None where it has read none, or does not say."""
        read = self.about["stages"].get("read")
        return None if read is None else read.get("fingerprint")

    def dataset(self) -> Dataset:
        """The run's data.

        Raises:
            RunError: they are missing or damaged, or not those that the run was made from.
        """
        self.require("read")
        with refuse_damaged(self.files.data):
            dataset = read_dataset(self.files.data)
            if not all(isinstance(t, str) for t in (*dataset.titles, *(dataset.texts or ()))):
                raise ValueError("a title or a text is none")
            found, recorded = dataset.fingerprint, self.data_fingerprint
        if recorded is not None and found != recorded:
            raise RunError(
                f"{self.files.data} is damaged (fingerprint {found}, the run was made from "
                f"{recorded}); fit the run again"
            )
        return dataset

    def cold(self) -> ColdItems:
        """The items held out of training, and the cases that ask for them.

        Raises:
            RunError: nothing was held out, or the files are damaged.
        """
        return ColdItems.load(self.files.cold)

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

    def save_identifiers(self, identifiers: Identifiers, dataset: Dataset) -> None:
        """Keep the identifiers."""
        identifiers.save(self.files.identifiers, dataset.item_ids)

    def save_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Keep a fitted tokenizer."""
        tokenizer.save(self.files.tokenizer)

    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer.

        Raises:
            RunError: it has none of its own, or its files are damaged.
        """
        return load_tokenizer(self.files.tokenizer)

    def identifiers(self, dataset: Dataset) -> Identifiers:
        """The run's identifiers."""
        self.require("identifiers")
        return Identifiers.load(self.files.identifiers, dataset.item_ids)

    def save_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Keep what training the recommender has decided."""
        write_tensors(self.weights_path, weights)

    @property
    def weights_path(self) -> Path:
        """The file of the trained recommender: where preferences made it better, what they made."""
        preferred = self.is_done("preference") and self.files.preference.exists()
        return self.files.preference if preferred else self.files.recommender

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

    def ranks(self, split: Split) -> Ranks:
        """int64 ``(n_cases,)``: the ranks kept for a split.

        They are those of `evaluation.protocol.evaluate_split`.

        Raises:
            RunError: there are none; runs of older versions kept none.
        """
        self.require("evaluation")
        path = self.files.ranks
        with refuse_damaged(path):
            return read_tensors(path)[0][split].numpy().astype(np.int64)

    def save_metrics(self, metrics: Evaluation) -> None:
        """Keep what evaluation gave."""
        write_json(self.files.metrics, metrics)

    def metrics(self) -> Evaluation:
        """What evaluation gave on both splits, and popularity beside it."""
        self.require("evaluation")
        return read_metrics(self.files.metrics)

    def save_diagnostics(self, diagnostics: Diagnosis) -> None:
        """Keep what the identifiers look like."""
        write_json(self.files.diagnostics, diagnostics)

    def diagnostics(self) -> Diagnosis:
        """What the identifiers look like; see `identifiers.diagnostics.diagnose`."""
        self.require("identifiers")
        return read_diagnostics(self.files.diagnostics)

    def save_sasrec(self, model: SASRec, dataset: Dataset) -> None:
        """Keep the SASRec that the CF embeddings are from."""
        model.save(self.files.sasrec, dataset.item_ids)

    def sasrec(self, dataset: Dataset) -> SASRec:
        """The SASRec that the CF embeddings are from, in eval mode.

        Raises:
            RunError: none was trained here, or its file is damaged.
        """
        return SASRec.load(self.files.sasrec, dataset.item_ids)

    def checkpoints(self, stage: str) -> Path:
        """Where a stage's training keeps checkpoints and TensorBoard events."""
        return self.files.training / stage

    def training_log(self, stage: str) -> TrainingLog:
        """How a stage's training went.

        Raises:
            RunError: it trained nothing, or its checkpoint was deleted or damaged.
        """
        return read_log(self.checkpoints(stage))
