"""A worker of a sweep: takes trials from the queue, makes their runs, and tells how they did."""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import sys
import time
from collections.abc import Collection
from pathlib import Path

import torch
from optuna.exceptions import TrialPruned
from optuna.study import Study
from optuna.trial import Trial, TrialState

from letterrec.config.settings import Settings, is_baseline
from letterrec.errors import LetterRecError
from letterrec.files import fingerprint
from letterrec.progress import say, shown
from letterrec.runs.layout import Layout
from letterrec.runs.reuse import deciding
from letterrec.runs.run import Run
from letterrec.runs.tracking import Values, watched_by
from letterrec.studies.rows import is_known
from letterrec.studies.runs import finished_run, seconds_of
from letterrec.studies.spaces import Value, brief, differing
from letterrec.studies.study import RECIPE, VARIED, Chosen, Plan, Queue

RUNS = "runs"  # folder of the trials' runs
_POLL = 0.5  # seconds between looks at an empty queue while others work
_PARENT = multiprocessing.parent_process()


def work(folder: Path, deadline: float | None = None) -> None:
    """Do trials of the sweep in a folder until none is left, also what others leave undone.

    Args:
        folder: of the sweep.
        deadline: `time.time` after which none is begun; None: there is none.

    Raises:
        LetterRecError: the recipe as it is cannot be run.
    """
    queue = Queue(folder)
    study, plan = queue.open()
    while True:
        is_late = deadline is not None and time.time() > deadline
        with contextlib.nullcontext() if is_late else queue.take(study, plan) as trial:
            if trial is not None:
                _attempt(queue, study, plan, trial)
                continue
        if is_late or not queue.is_busy(study):
            return
        time.sleep(_POLL)


def work_beside(folder: Path, deadline: float | None, threads: int, log: Path) -> None:
    """What a process beside the first one does: `work`, reporting into a file."""
    torch.set_num_threads(threads)
    with log.open("a", encoding="utf-8") as file, contextlib.redirect_stderr(file), shown():
        try:
            work(folder, deadline)
        except LetterRecError as error:
            print(f"letterrec: {error}", file=sys.stderr)
            sys.exit(2)


def _attempt(queue: Queue, study: Study, plan: Plan, trial: Trial) -> None:
    """Make the run of a trial, and tell the study how it did."""
    is_recipe = RECIPE in trial.user_attrs
    chosen = _suggested(plan, trial)
    trials = study.get_trials(deepcopy=False)
    values = ", ".join(f"{key} = {brief(value)}" for key, value in chosen.items())
    said = "the recipe as it is" if is_recipe else values
    say(f"trial {trial.number} ({len(trials)} in all): {said}")
    try:
        settings = plan.with_values(differing(plan.base(), chosen))
        folder = _run_folder(queue.folder, settings)
        trial.set_user_attr("run", folder.name)
        known, criterion = trials[trial.number].intermediate_values, settings.evaluation.criterion
        with watched_by(_Watcher(trial, known, criterion, may_stop=not is_recipe)):
            run = _run(queue, plan, settings, folder)
    except TrialPruned as error:
        say(f"  {error}")
        shutil.rmtree(Layout(folder).training, ignore_errors=True)  # its checkpoints
        study.tell(trial, state=TrialState.PRUNED)
    except (LetterRecError, MemoryError, torch.OutOfMemoryError) as error:
        reason = " ".join(str(error).split()) or "there is too little memory"
        trial.set_user_attr("error", reason)
        study.tell(trial, state=TrialState.FAIL)
        if is_recipe:
            raise
        say(f"  skipped: {reason}")
    else:
        metrics = run.metrics()["valid"]["metrics"]
        trial.set_user_attr("valid", metrics)
        trial.set_user_attr("seconds", seconds_of(run))
        study.tell(trial, metrics[criterion])
        say(f"  {criterion} {metrics[criterion]:.4f}")


def prepare(folder: Path, plan: Plan) -> None:
    """Learn what the recipe needs up to its identifiers, once for all trials that share it.

    Raises:
        LetterRecError: the recipe as it is cannot be run on these data.
    """
    base, queue = plan.base(), Queue(folder)
    if is_baseline(base):
        return
    with queue.lock("shared"):
        finished_run(
            plan.source,
            _run_folder(folder, base),
            base,
            until="identifiers",
            shelf=folder / RUNS,
        )


def _run(queue: Queue, plan: Plan, settings: Settings, folder: Path) -> Run:
    """The finished run of some settings; two workers never make the same one, nor the same
    identifiers.
    """
    shelf = queue.folder / RUNS
    shared, own = (deciding(s, "identifiers") for s in (plan.base(), settings))
    with queue.lock(f"run-{folder.name}"):
        if not is_baseline(settings) and (own is None or own != shared):
            with queue.lock(f"identifiers-{fingerprint(repr(own))[:12]}"):
                finished_run(plan.source, folder, settings, until="identifiers", shelf=shelf)
        return finished_run(plan.source, folder, settings, shelf=shelf)


def _run_folder(folder: Path, settings: Settings) -> Path:
    """Where the run of some settings is: the same for all trials that have them."""
    return folder / RUNS / fingerprint(settings.to_toml())[:12]


def _suggested(plan: Plan, trial: Trial) -> Chosen:
    """The values of a trial: of the settings that are varied in it, or of all that the kinds that
    it chooses have.
    """
    domains = plan.domains()
    if VARIED in trial.user_attrs:
        return {key: domains[key].suggest(trial, key) for key in trial.user_attrs[VARIED]}
    settings = plan.base()
    chosen: dict[str, Value] = {}
    for key in sorted(domains, key=lambda key: not key.endswith(".name")):
        if is_known(key, settings):
            chosen[key] = domains[key].suggest(trial, key)
            if key.endswith(".name"):
                settings = plan.with_values(chosen)
    return chosen


class _Watcher:
    """Tells a trial of the epochs of its recommender, and ends it where it falls behind.

    Args:
        trial: that is told.
        known: epochs that it has been told of, by a worker that was killed.
        criterion: the metric.
        may_stop: False for the recipe as it is, which all others are compared with.
    """

    def __init__(
        self, trial: Trial, known: Collection[int], criterion: str, may_stop: bool
    ) -> None:
        self._trial, self._known = trial, known
        self._metric, self._may_stop = f"valid/{criterion}", may_stop

    def __call__(self, stage: str, entry: Values) -> None:
        """An epoch of a stage has ended."""
        if _PARENT is not None and not _PARENT.is_alive():
            sys.exit(1)  # the sweep was killed, and this process with it
        if stage != "recommender" or self._metric not in entry:
            return
        value, epoch = entry[self._metric], int(entry["epoch"]) + 1
        if epoch not in self._known:
            self._trial.report(value, epoch)
        if self._may_stop and self._trial.should_prune():
            raise TrialPruned(f"stopped after epoch {epoch}, at {value:.4f}")
