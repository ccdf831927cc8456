"""What a run folder holds beside what was learned, opened and read without PyTorch: settings, data,
identifiers, metrics and ranks. `learned` has the rest.
"""

from __future__ import annotations

import tomllib
from os import PathLike
from pathlib import Path
from typing import Self

import numpy as np

from letterrec.config.loading import parse_kept_settings
from letterrec.config.settings import Settings
from letterrec.data.cold import ColdItems
from letterrec.data.dataset import Dataset
from letterrec.data.saved import read_dataset
from letterrec.data.splits import Split
from letterrec.errors import RunError, SettingsError, quoted
from letterrec.evaluation.metrics import Ranks
from letterrec.evaluation.results import Evaluation
from letterrec.files import refuse_damaged, write_json
from letterrec.files.arrays import read_arrays
from letterrec.identifiers.diagnostics import Diagnosis
from letterrec.identifiers.identifiers import Identifiers
from letterrec.runs.layout import Layout
from letterrec.runs.records import RunRecord, read_about, read_diagnostics, read_metrics


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

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the run in a folder.

        Raises:
            RunError: there is none, it is damaged, or it may not be read.
        """
        files = Layout(folder)
        with refuse_damaged(files.about):
            if folder.is_file():
                raise RunError(f"{folder} is a file; expected the folder of a run")
            if not files.about.exists():
                what = "holds no run (no run.json)" if folder.is_dir() else "does not exist"
                raise RunError(
                    f"{folder} {what}; make one with: letterrec fit SOURCE --out {folder}"
                )
        about = read_about(files.about)
        try:
            with refuse_damaged(files.settings):
                settings = parse_kept_settings(tomllib.loads(files.settings.read_text("utf-8")))
        except SettingsError as error:
            raise RunError(
                f"{files.settings} is damaged, or of another version ({error}); fit the run again"
            ) from None
        return cls(folder, settings, about)

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

    def save_identifiers(self, identifiers: Identifiers, dataset: Dataset) -> None:
        """Keep the identifiers."""
        identifiers.save(self.files.identifiers, dataset.item_ids)

    def identifiers(self, dataset: Dataset) -> Identifiers:
        """The run's identifiers."""
        self.require("identifiers")
        return Identifiers.load(self.files.identifiers, dataset.item_ids)

    @property
    def weights_path(self) -> Path:
        """The file of the trained recommender: where preferences made it better, what they made."""
        preferred = self.is_done("preference") and self.files.preference.exists()
        return self.files.preference if preferred else self.files.recommender

    def ranks(self, split: Split) -> Ranks:
        """int64 ``(n_cases,)``: the ranks kept for a split.

        They are those of `evaluation.protocol.evaluate_split`.

        Raises:
            RunError: there are none; runs of older versions kept none.
        """
        self.require("evaluation")
        path = self.files.ranks
        with refuse_damaged(path):
            return read_arrays(path)[split].astype(np.int64)

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

    def checkpoints(self, stage: str) -> Path:
        """Where a stage's training keeps checkpoints and TensorBoard events."""
        return self.files.training / stage


AnyRun = str | PathLike[str] | Artefacts


def as_folder(folder: AnyRun, name: str) -> Path:
    """A run's folder, given as its path or as the run.

    Raises:
        RunError: it is something else; ``name`` is what the message calls it.
    """
    if isinstance(folder, Artefacts):
        return folder.folder
    if not isinstance(folder, str | PathLike) or not str(folder) or "\0" in str(folder):
        raise RunError(f"{name} = {quoted(folder)}: expected the path of a run's folder")
    return Path(folder)
