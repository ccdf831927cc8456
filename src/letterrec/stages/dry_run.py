"""What a fit would take: its time and its memory, stage by stage, without training.

The fit's own pipeline is rehearsed (`training.rehearsal`) in a temporary folder: data are read
whole, what is trained takes a few steps, what is ranked or encoded a few batches, and what repeats
nothing is done as it is. So the estimate is of this machine, these data and these settings, and
what a fit would refuse is refused.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, TypedDict

import torch

from letterrec.config.settings import Settings
from letterrec.data import Dataset, Frames, Sources
from letterrec.errors import RunError
from letterrec.files import link_or_copy
from letterrec.progress import say, shown
from letterrec.runs.run import Run
from letterrec.stages.beginning import begin
from letterrec.training.devices import device
from letterrec.training.rehearsal import Rehearsal, Stage, Training, rehearsing

_TABLES = ("content", "collaborative", "identifiers", "transitions")  # files of a row per item


class TrainingEstimate(TypedDict):
    """A training of a stage; see `training.rehearsal.Training`."""

    what: str
    epochs: int
    steps: int
    seconds_per_step: float
    validations: int
    seconds_per_validation: float
    parameters: int
    weights_bytes: int
    optimizer_bytes: int


class StageEstimate(TypedDict):
    """A stage of the run: whether it is to be done, and what it takes then.

    The largest memory is that of the whole process in the stage; ``device_bytes`` is a GPU's.
    """

    stage: str
    state: Literal["to do", "kept", "taken over"]
    seconds: float
    peak_bytes: int
    device_bytes: int
    trainings: list[TrainingEstimate]


class Estimate(TypedDict):
    """What a fit would take on this machine.

    Seconds are those of all stages, an upper bound where patience may end a training sooner.
    ``tables_bytes`` are those of the files with a row per item, ``disk_bytes`` of the run folder
    without checkpoints; ``measured_seconds`` went into the estimate itself.
    """

    data: str
    users: int
    items: int
    interactions: int
    device: str
    threads: int
    stages: list[StageEstimate]
    seconds: float
    peak_bytes: int
    tables_bytes: int
    disk_bytes: int
    measured_seconds: float


def estimate(
    source: str | Dataset | Frames | Sources,
    folder: Path | None,
    settings: Settings,
    learn: Callable[[Run, Dataset], object],
    *,
    resume: bool = False,
    reuse: Iterable[Path] = (),
) -> Estimate:
    """Estimate a fit; nothing is written but in a temporary folder, which is removed.

    Args:
        source: as `pipeline.fit` takes it, like what follows.
        folder: where the run would go; it is checked, and a run that is there is gone on with where
            ``resume`` says so. None: nowhere yet.
        settings: of the run.
        learn: `pipeline.go_on`.
        resume: see ``folder``.
        reuse: runs whose results are taken over.

    Raises:
        LetterRecError: what a fit would refuse.
    """
    started = time.perf_counter()
    begun = None if folder is None else _begun(folder, settings, resume)
    with tempfile.TemporaryDirectory(prefix="letterrec-dry-run-") as temporary:
        trial = Path(temporary) / "run"
        if begun is not None:
            _link(begun.folder, trial)
        with rehearsing() as rehearsal:
            run, dataset = begin(source, trial, settings, resume=True, reuse=reuse)
            run = Run(trial, settings.model_copy(update={"tracker": "none"}), run.about)
            kept = {stage for stage in run.stages if run.is_done(stage)} - {"read"}
            say("  a few steps of each stage are taken and measured; none of them is kept")
            with shown(False):
                learn(run, dataset)
        stages = [_of_stage(run, stage, rehearsal, kept) for stage in run.stages]
        return {
            "data": dataset.name,
            "users": dataset.n_users,
            "items": dataset.n_items,
            "interactions": dataset.n_interactions,
            "device": str(device()),
            "threads": torch.get_num_threads(),
            "stages": stages,
            "seconds": sum(stage["seconds"] for stage in stages),
            "peak_bytes": max(stage["peak_bytes"] for stage in stages),
            "tables_bytes": sum(p.stat().st_size for p in trial.iterdir() if p.stem in _TABLES),
            "disk_bytes": sum(p.stat().st_size for p in trial.rglob("*") if p.is_file()),
            "measured_seconds": time.perf_counter() - started,
        }


def _begun(folder: Path, settings: Settings, resume: bool) -> Run | None:
    """The run that a fit would go on with.

    Raises:
        RunError: the folder would be refused, or nothing could be written there.
    """
    try:
        begun = Run.begun(folder, settings, resume=resume)
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=there):
            return begun
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RunError(f"{folder} cannot be written ({reason}); name another --out") from None


def _link(folder: Path, target: Path) -> None:
    """The files of a run in another folder; a run changes none of them in place."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith((".", "events.out.")):
            copy = target / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(path, copy)


def _of_stage(run: Run, stage: str, rehearsal: Rehearsal, kept: set[str]) -> StageEstimate:
    """What a stage takes; nothing where it is done already."""
    is_taken = "from" in run.about["stages"].get(stage, {})
    state: Literal["to do", "kept", "taken over"]
    state = "to do" if stage not in kept else "taken over" if is_taken else "kept"
    found = rehearsal.stages.get(stage, Stage())  # nothing is measured of one that is skipped
    return {
        "stage": stage,
        "state": state,
        "seconds": found.seconds,
        "peak_bytes": found.peak_bytes,
        "device_bytes": found.device_bytes,
        "trainings": [_of_training(t) for t in found.trainings],
    }


def _of_training(training: Training) -> TrainingEstimate:
    return {
        "what": training.label,
        "epochs": training.epochs,
        "steps": training.steps,
        "seconds_per_step": training.step_seconds,
        "validations": training.validations,
        "seconds_per_validation": training.validation_seconds,
        "parameters": training.parameters,
        "weights_bytes": training.weights_bytes,
        "optimizer_bytes": training.optimizer_bytes,
    }
