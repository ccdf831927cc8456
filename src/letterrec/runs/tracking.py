"""Trackers of experiments: a run's settings, how each of its stages trains, and its metrics.

TensorBoard's events are in the run folder and need no other program (`training.loop`). MLflow and
Weights & Biases are told by their own clients, which are imported when the settings name them, and
configured as they always are: by ``MLFLOW_TRACKING_URI``, ``WANDB_MODE`` and so on. A record ends
as its run does: finished, failed or killed; a run that goes on with ``--resume`` opens it again.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, Literal, Protocol

from letterrec.config.settings import Settings, TrackerName, dotted
from letterrec.data.splits import SPLITS
from letterrec.errors import MissingExtra, RunError, short
from letterrec.evaluation.results import Evaluation
from letterrec.files import read_json, write_json
from letterrec.progress import say
from letterrec.runs.layout import Layout

_PROJECT = "letterrec"  # experiment or project, where the environment names none
_LONGEST = 500  # characters of a parameter that MLflow takes
Values = Mapping[str, float]
Watcher = Callable[[str, Values], None]
Ending = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker(Protocol):
    """What is told of a run as it goes on; one that is opened again goes on with its record."""

    def log(self, values: Values, epoch: int | None) -> None:
        """Metrics by name, of an epoch or of the whole run."""

    def finish(self, how: Ending) -> None:
        """The run has ended."""


class MlflowTracker:
    """A run of MLflow, begun at the first stage."""

    def __init__(self, files: Layout, settings: Settings) -> None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # which MLflow 3.17 asks for
        mlflow = importlib.import_module("mlflow")
        self._client = mlflow.MlflowClient()
        self._run = _known(files)
        if self._run is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
            there = self._client.get_experiment_by_name(name)
            group = self._client.create_experiment(name) if there is None else there.experiment_id
            self._run = self._client.create_run(group, run_name=files.folder.name).info.run_id
            write_json(files.tracked, self._run)
        elif self._client.get_run(self._run).info.status != "RUNNING":
            self._client.update_run(self._run, status="RUNNING")
        for key, value in _told(settings).items():  # the same again where it is resumed
            self._client.log_param(self._run, key, str(value)[:_LONGEST])

    def log(self, values: Values, epoch: int | None) -> None:
        """See `Tracker`; ``recall@10`` is ``recall_at_10``, since MLflow takes no ``@``."""
        for name, value in values.items():
            self._client.log_metric(self._run, name.replace("@", "_at_"), value, step=epoch)

    def finish(self, how: Ending) -> None:
        """See `Tracker`."""
        self._client.set_terminated(self._run, status=how)


class WandbTracker:
    """A run of Weights & Biases, begun at the first stage."""

    def __init__(self, files: Layout, settings: Settings) -> None:
        wandb = importlib.import_module("wandb")
        self._run: Any = wandb.init(  # of a client that has no types
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=files.folder.name,
            id=_known(files),
            resume="allow",
            reinit="create_new",
            config=_told(settings),
        )
        write_json(files.tracked, self._run.id)

    def log(self, values: Values, epoch: int | None) -> None:
        """See `Tracker`; the epoch is a value like the others, since stages count anew."""
        self._run.log(dict(values) if epoch is None else {**values, "epoch": epoch})

    def finish(self, how: Ending) -> None:
        """See `Tracker`; whatever is not finished has failed there."""
        self._run.finish(exit_code=0 if how == "FINISHED" else 1)


_TRACKERS: dict[TrackerName, Callable[[Layout, Settings], Tracker]] = {
    "mlflow": MlflowTracker,
    "wandb": WandbTracker,
}
_open: dict[str, Tracker] = {}  # by folder of the run
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Inside the block, tell somebody each epoch of every run that this thread trains.

    Args:
        watcher: called with the stage and what `TrainingOptions.on_epoch` is told; what it raises
            ends the training.
    """
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def check(name: TrackerName) -> None:
    """Refuse a tracker whose client is not installed.

    Raises:
        MissingExtra: it is not.
    """
    if name in _TRACKERS and importlib.util.find_spec(name) is None:
        raise MissingExtra(name, name)


def epochs_to(files: Layout, settings: Settings, stage: str) -> Callable[[Values], None] | None:
    """A callback that reports each epoch of a stage to the settings' tracker and to a watcher.

    None where there is neither. Of several processes the main one alone reports.
    """
    watcher, is_tracked = _watcher.get(), settings.tracker in _TRACKERS
    if not (is_tracked or watcher):
        return None

    def tell(entry: Values) -> None:
        if is_tracked:
            values = {f"{stage}/{name}": v for name, v in entry.items() if name != "epoch"}
            _tell(files, settings, values, int(entry["epoch"]))
        if watcher is not None:
            watcher(stage, entry)

    return tell


def tell_metrics(files: Layout, settings: Settings, measured: Evaluation) -> None:
    """Tell the tracker of the settings what a run measured at its end."""
    finish(
        files,
        settings,
        {f"{s}/{name}": v for s in SPLITS for name, v in measured[s]["metrics"].items()},
    )


def finish(files: Layout, settings: Settings, values: Values | None = None) -> None:
    """Tell the tracker of the settings that a run is finished, and what it measured, if it did; of
    several processes the main one does.
    """
    if settings.tracker not in _TRACKERS:
        return
    _tell(files, settings, values or {}, None).finish("FINISHED")
    del _open[str(files.folder)]


def give_up(files: Layout, how: Ending) -> None:
    """Tell the tracker of a run, where one was told of it, that it ends before it is finished."""
    tracker = _open.pop(str(files.folder), None)
    if tracker is None:
        return
    try:
        tracker.finish(how)
    except Exception as error:  # what ended the run is what matters
        say(f"  note: the tracker was not told that the run ended ({type(error).__name__})")


def _tell(files: Layout, settings: Settings, values: Values, epoch: int | None) -> Tracker:
    """Metrics to the tracker of a run, which is opened where it is not.

    Raises:
        RunError: it does not take them.
    """
    key = str(files.folder)
    try:
        if key not in _open:
            _heed_termination()
            _open[key] = _TRACKERS[settings.tracker](files, settings)
        _open[key].log(values, epoch)
    except Exception as error:  # each client raises kinds of its own
        _open.pop(key, None)  # what takes nothing is not told of the end either
        reason = short(error, 200)
        raise RunError(
            f"tracker = {settings.tracker!r} took no metrics ({type(error).__name__}: {reason}); "
            "mend it and go on with --resume"
        ) from error
    return _open[key]


def _heed_termination() -> None:
    """From here on a request to end (SIGTERM) is told to trackers before it ends the process."""

    def end(number: int, frame: FrameType | None) -> None:
        for tracker in _open.values():
            with contextlib.suppress(Exception):
                tracker.finish("KILLED")
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    is_ours = threading.current_thread() is threading.main_thread()  # others may set none
    if is_ours and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)


def _known(files: Layout) -> str | None:
    """The tracker's own id of the run, where it has begun one."""
    known: object = read_json(files.tracked) if files.tracked.exists() else None
    return known if isinstance(known, str) else None


def _told(settings: Settings) -> dict[str, object]:
    """All settings, ``section.key`` -> value."""
    return dotted(settings.model_dump(mode="json"))
