"""A study of Optuna in a folder: what is to be tried, handed to workers one trial after the other.

All that is to be tried stands in the study's queue from the start, so that any number of processes
may take from it, and one that is started later goes on where others stopped. A worker holds a lock
for as long as its trial runs; the lock of one that was killed is free, and its trial is put back
into the queue.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from letterrec.config.loading import load_settings
from letterrec.config.settings import Settings, dotted
from letterrec.errors import RunError, short
from letterrec.runs.layout import holds_run
from letterrec.studies import PrunerName, SamplerName
from letterrec.studies.spaces import Space, Value, as_overrides, as_value, domain_of, value_of

NAME = "sweep"  # of the study in its database
RECIPE = "recipe"  # user attribute of the trial of the recipe as it is
VARIED = "varied"  # user attribute: what alone a trial varies; where it is missing, the whole space
_RETRIES = 3  # of a trial whose workers are killed
_WAIT = 60.0  # seconds for another process to let go of the database
_FULL = 4  # trials that are seen to their end before any is stopped
_WARMUP = 4  # of the epochs, one part of so many, in which none is stopped

Chosen = Mapping[str, Value]


@dataclass(frozen=True)
class Plan:
    """What a study is about; kept in it, so that all workers do the same.

    Attributes:
        source: the data.
        recipe: a name, or the path of a file; None: the default.
        overrides: ``section.key=value`` for all trials.
        sampler: who chooses what is tried.
        pruner: who stops trials that fall behind.
        space: setting -> its values, as JSON has them.
        settings: all settings of the recipe with the overrides, as JSON has them.
    """

    source: str
    recipe: str | None
    overrides: list[str]
    sampler: SamplerName
    pruner: PrunerName
    space: dict[str, object]
    settings: dict[str, object]

    def base(self) -> Settings:
        """The recipe as it is."""
        return self.with_values({})

    def with_values(self, chosen: Chosen) -> Settings:
        """The recipe with the values of a trial."""
        return load_settings(self.recipe, [*self.overrides, *as_overrides(chosen)])

    def domains(self) -> Space:
        """The space."""
        base = self.base()
        return {key: domain_of(key, domain, base) for key, domain in self.space.items()}

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(asdict(self), sort_keys=True)


class Queue:
    """The study in ``folder/study.db``, and its queue.

    Args:
        folder: of the sweep; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder = folder
        self._locks = folder / "locks"
        self._database = folder / "study.db"
        self.url = f"sqlite:///{self._database}"

    def lock(self, name: str) -> FileLock:
        """A lock that the system frees when its process ends, however it ends."""
        self._locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self._locks / f"{name}.lock")

    def open(self) -> tuple[Study, Plan]:
        """The study that is there, and what it is about.

        Raises:
            RunError: there is none, or it is damaged.
        """
        with self._reading():
            study = optuna.load_study(study_name=NAME, storage=self._storage())
            plan = Plan(**json.loads(study.user_attrs["plan"]))
        study.pruner = _pruner(plan)
        return study, plan

    def check(self, plan: Plan, *, resume: bool) -> None:
        """Refuse a folder whose study is not to be gone on with, or that holds something else.

        Raises:
            RunError: in one line.
        """
        if self.folder.is_file() or holds_run(self.folder):
            what = "is a file" if self.folder.is_file() else "holds a run"
            raise RunError(f"{self.folder} {what}; --out needs a folder for the sweep alone")
        if not self._is_begun():
            return
        _, old = self.open()
        if not resume:
            raise RunError(
                f"{self.folder} already holds a sweep; add --resume to go on with it, or to work "
                "on it beside others, or name another --out"
            )
        before, now = (dotted(json.loads(p.to_json())) for p in (old, plan))
        told = [
            f"{key}: {before.get(key)!r} there, {now.get(key)!r} now"
            for key in before | now
            if before.get(key) != now.get(key)
        ]
        if told:
            raise RunError(
                f"{self.folder} holds another sweep ({'; '.join(told[:3])}); resume with the same "
                "options, or name another --out"
            )

    def begin(self, plan: Plan, points: Sequence[Chosen | None], *, resume: bool) -> None:
        """Put all that is to be tried into the queue of a study, a new one if there is none.

        Args:
            plan: what it is about.
            points: what is to be tried: values, none of which leaves them to the sampler; None is
                the recipe as it is. So many as the study has already are not put there again.
            resume: go on with a study that is there.

        Raises:
            RunError: there is one and ``resume`` is not wanted, or it is about something else.
        """
        with self.lock("study"):
            self.check(plan, resume=resume)
            if self._is_begun():
                study, _ = self.open()
            else:
                study = optuna.create_study(
                    study_name=NAME,
                    storage=self._storage(),
                    direction="maximize",
                    load_if_exists=True,
                )
                with _experimental():
                    study.set_metric_names([plan.base().evaluation.criterion])
                study.set_user_attr("plan", plan.to_json())
            planned = sum(first_of(t) == t.number for t in study.get_trials(deepcopy=False))
            for point in points[planned:]:
                values = _in_space(plan) if point is None else dict(point)
                own = {RECIPE: True} if point is None else {}
                varied = {VARIED: list(values)} if values or own else {}
                study.enqueue_trial(values, user_attrs={**own, **varied})

    @contextmanager
    def take(self, study: Study, plan: Plan) -> Iterator[Trial | None]:
        """The next trial of the queue, this process's own inside the block; None: it is empty.

        What killed workers had is put back first.
        """
        with ExitStack() as held:
            with self.lock("study"):
                self._put_back(study)
                waiting = _of(study, TrialState.WAITING)
                trial = None
                if waiting:
                    study.sampler = _sampler(plan, min(t.number for t in waiting))
                    trial = study.ask()
                    held.enter_context(self.lock(f"trial-{trial.number}"))
            yield trial

    def is_busy(self, study: Study) -> bool:
        """Whether any worker has a trial."""
        return bool(_of(study, TrialState.RUNNING))

    def _put_back(self, study: Study) -> None:
        with _experimental():
            retry = RetryHeartbeatStaleTrialCallback(_RETRIES, inherit_intermediate_values=True)
        for trial in _of(study, TrialState.RUNNING):
            try:
                with self.lock(f"trial-{trial.number}").acquire(timeout=0):
                    study.tell(trial.number, state=TrialState.FAIL)
                    retry(study, trial)
            except Timeout:
                continue

    def _is_begun(self) -> bool:
        """Whether there is a study; one whose process was killed before it said what it is about
        is none.
        """
        if not self._database.exists():
            return False
        with self._reading():
            found = optuna.get_all_study_summaries(self._storage())
        return any(s.study_name == NAME and "plan" in s.user_attrs for s in found)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        if not self._database.exists():
            raise RunError(
                f"{self.folder} holds no sweep; make one with: letterrec sweep SOURCE --out "
                f"{self.folder}"
            )
        try:
            yield
        except (StorageInternalError, SQLAlchemyError, KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"{self._database} is damaged, or of another version ({short(error, 120)}); "
                "name another --out"
            ) from None

    def _storage(self) -> RDBStorage:
        return RDBStorage(self.url, engine_kwargs={"connect_args": {"timeout": _WAIT}})


@contextmanager
def _experimental() -> Iterator[None]:
    """Inside the block Optuna does not say that what is called may change with its version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def first_of(trial: FrozenTrial) -> int:
    """The number of the trial that one tries again; its own if it is the first."""
    return int(trial.system_attrs.get("failed_trial", trial.number))


def _of(study: Study, state: TrialState) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(state,))


def _in_space(plan: Plan) -> dict[str, Value]:
    """The recipe's values of what is tuned, those that the space has."""
    base = plan.base()
    found: dict[str, Value] = {}
    for key, domain in plan.domains().items():
        value = as_value(value_of(base, key))
        if value is not None and value in domain:
            found[key] = value
    return found


def _sampler(plan: Plan, number: int) -> BaseSampler:
    """Who chooses the values of a trial; its seed is of the trial, not of the worker."""
    seed = int(np.random.default_rng([plan.base().seed, number]).integers(2**31))
    return RandomSampler(seed) if plan.sampler == "random" else TPESampler(seed=seed)


def _pruner(plan: Plan) -> BasePruner:
    epochs = plan.base().training.passes
    match plan.pruner:
        case "median":
            return MedianPruner(n_startup_trials=_FULL, n_warmup_steps=max(2, epochs // _WARMUP))
        case "hyperband":
            return HyperbandPruner(min_resource=1, max_resource=epochs)
        case "none":
            return NopPruner()
