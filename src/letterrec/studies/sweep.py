"""A sweep: settings tuned on validation by Optuna, by any number of workers on one study."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import random
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

import torch
from optuna.trial import FrozenTrial, TrialState

from letterrec.config.loading import load_settings
from letterrec.config.settings import Settings
from letterrec.data import check_source
from letterrec.errors import RunError, SettingsError
from letterrec.files import write_json, write_text
from letterrec.progress import visible
from letterrec.runs.run import Run
from letterrec.studies import PrunerName, SamplerName
from letterrec.studies.default_spaces import default_space, paper_space
from letterrec.studies.sheets import Sheet, figure, heading
from letterrec.studies.spaces import (
    Space,
    Value,
    as_overrides,
    as_value,
    brief,
    changed,
    check_space,
    space_of,
    value_of,
)
from letterrec.studies.study import RECIPE, Chosen, Plan, Queue
from letterrec.studies.working import RUNS, prepare, work, work_beside

PAPERS = "paper"  # the space of the paper's Fig. 8
_PAPERS_RECIPE = "paper-letter-rqt"  # on which its ranges mean what they mean in the paper
_TRIALS = 20  # where the values are not a grid's
_LARGEST_GRID = 500  # that is tried without being asked for in numbers
_SHOWN = 20  # trials in a table


class Tried(TypedDict):
    """A trial.

    Attributes:
        number: in the study.
        state: ``complete``, ``pruned``, ``fail``, ``running`` or ``waiting``.
        settings: what differs from the recipe.
        value: the criterion on validation; None where it is not complete.
        valid: validation metrics; of the others there are none.
        epochs: per epoch the criterion, as the network alone had it.
        seconds: what the run cost, counted as if it had learned everything itself.
        run: its folder.
        error: why it could not be run.
    """

    number: int
    state: str
    settings: dict[str, Value]
    value: float | None
    valid: dict[str, float]
    epochs: dict[str, float]
    seconds: float | None
    run: str
    error: str


class Swept(TypedDict):
    """What a sweep found.

    Attributes:
        source: the data.
        criterion: what selects, on validation.
        sampler: who chose.
        pruner: who stopped trials.
        study: the address of the study, as `optuna.load_study` takes it (by the name ``sweep``).
        space: setting -> its values.
        base: the recipe's values of them.
        trials: all of them, in their order.
        best: the number of the best one.
        set: its settings, as arguments of ``letterrec fit``.
        recipe: a file with all its settings.
        test: test metrics of the best (``best``) and of the recipe as it is (``recipe``) alone.
    """

    source: str
    criterion: str
    sampler: str
    pruner: str
    study: str
    space: dict[str, object]
    base: dict[str, object]
    trials: list[Tried]
    best: int
    set: str
    recipe: str
    test: dict[str, dict[str, float]]


def sweep(
    source: str,
    out: Path,
    *,
    over: Sequence[str] = (),
    space: Path | str | None = None,
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    sampler: SamplerName = "tpe",
    pruner: PrunerName = "median",
    trials: int | None = None,
    one_at_a_time: bool = False,
    workers: int = 1,
    timeout: float | None = None,
    resume: bool = False,
) -> Swept:
    """Tune settings on validation.

    The recipe as it is is the first trial. Trials with the same settings share a run, and those
    with the same content embeddings, CF embeddings or identifiers share them.

    Args:
        source: the data.
        out: where ``study.db`` and the runs go, ``sweep.json`` with what is returned, and
            ``best.toml``.
        over: settings and their values, as `spaces.space_of` takes them.
        space: a TOML file of the same, or ``"paper"``: the ranges of the paper's Fig. 8. Without
            either it is the recommender's own, and for ``sampler="grid"`` that is told nothing
            else the paper's, one at a time on the recipe ``paper-letter-rqt``.
        recipe: where settings start from.
        overrides: ``section.key=value`` for all trials.
        sampler: ``"tpe"``, ``"random"``, or ``"grid"``: all combinations.
        pruner: stops trials that fall behind at their epochs: ``"median"`` of the others,
            ``"hyperband"``, or ``"none"``.
        trials: how many, with the recipe as it is; None: 20, of a grid all. With ``resume`` more
            than before are added.
        one_at_a_time: each value of a grid with everything else as in the recipe.
        workers: processes, this one among them.
        timeout: seconds after which no trial is begun.
        resume: go on with the sweep in ``out``, or work on it beside others.

    Raises:
        LetterRecError: the data, the recipe, the space and the folder do not go together.
    """
    if sampler == "grid" and not (over or space or recipe or overrides):
        space, recipe, one_at_a_time = PAPERS, _PAPERS_RECIPE, True
    if recipe is not None and Path(recipe).is_file():
        recipe = str(Path(recipe).resolve())
    base = load_settings(recipe, overrides)
    chosen = _space(over, space, base)
    check_space(chosen, recipe, overrides, base)
    if one_at_a_time:
        sampler = "grid"
    plan = Plan(
        source=str(source),
        recipe=recipe,
        overrides=list(overrides),
        sampler=sampler,
        pruner=pruner,
        space={key: domain.described() for key, domain in chosen.items()},
        settings=base.model_dump(mode="json"),
    )
    points = _points(chosen, base, sampler, trials, one_at_a_time)
    check_source(source)
    queue = Queue(out)
    queue.check(plan, resume=resume)
    prepare(out, plan)
    queue.begin(plan, points, resume=resume)
    deadline = None if timeout is None else time.time() + timeout
    with _others(out, workers - 1, deadline):
        work(out, deadline)
    return found_in(out)


def found_in(out: Path) -> Swept:
    """What the sweep in a folder has found so far; also written into ``sweep.json``.

    Raises:
        RunError: there is none, or no trial of it is complete.
    """
    queue = Queue(out)
    study, plan = queue.open()
    base = plan.base()
    trials = study.get_trials(deepcopy=False)
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    if not complete:
        raise RunError(f"{out}: no trial is complete yet; go on with --resume")
    best = study.best_trial.number
    settings = {t.number: changed(base, t.params) for t in trials}
    test = {"best": _tested(out, trials[best])}
    for own in (t for t in complete if RECIPE in t.user_attrs):
        test["recipe"] = _tested(out, own)
    path = out / "best.toml"
    write_text(path, _as_recipe(plan, settings[best]))
    found = Swept(
        source=plan.source,
        criterion=base.evaluation.criterion,
        sampler=plan.sampler,
        pruner=plan.pruner,
        study=queue.url,
        space=plan.space,
        base={key: value_of(base, key) for key in plan.space},
        trials=[_tried(out, t, settings[t.number]) for t in trials],
        best=best,
        set=_as_arguments(plan, settings[best]),
        recipe=str(path),
        test=test,
    )
    write_json(out / "sweep.json", found)
    return found


def sweep_sheet(result: Swept) -> Sheet:
    """The best trials, and in a line below how many others there are and why."""
    criterion = result["criterion"]
    other = "recall@10" if criterion == "ndcg@10" else "ndcg@10"
    names = _short(list(result["space"]))
    sheet = Sheet(
        f"{len(result['trials'])} trials on {result['source']}, best first",
        ["#", heading(criterion), heading(other), "min", "settings"],
    )
    complete = [t for t in result["trials"] if t["value"] is not None]
    for tried in sorted(complete, key=lambda t: (-(t["value"] or 0.0), t["number"]))[:_SHOWN]:
        values = ", ".join(f"{names[k]} {brief(v)}" for k, v in tried["settings"].items())
        sheet.rows.append(
            [
                str(tried["number"]),
                figure(tried["value"]),
                figure(tried["valid"][other]),
                f"{(tried['seconds'] or 0.0) / 60:.1f}",
                values or "the recipe as it is",
            ]
        )
    recipe = ", ".join(f"{names[key]} {brief(v)}" for key, v in result["base"].items())
    notes = [f"validation; recipe: {recipe or 'nothing to tune'}", *_left_out(result)]
    sheet.note = "\n".join(notes)
    return sheet


def _space(over: Sequence[str], space: Path | str | None, base: Settings) -> Space:
    """The space that is asked for; a setting that is named takes the place of the paper's."""
    if space == PAPERS:
        return {**paper_space(base), **space_of(over, None, base)}
    if space is None and not over:
        return default_space(base)
    return space_of(over, None if space is None else Path(space), base)


def _points(
    space: Space,
    base: Settings,
    sampler: SamplerName,
    trials: int | None,
    one_at_a_time: bool,
) -> list[Chosen | None]:
    """What is tried, the recipe as it is (None) first; see `Queue.begin`."""
    if sampler != "grid":
        count = (_TRIALS if trials is None else trials) if space else 1
        return [None, *({} for _ in range(count - 1))]
    if one_at_a_time:
        found = [{key: value} for key, domain in space.items() for value in domain.values()]
    else:
        size = math.prod(len(domain.values()) for domain in space.values())
        if trials is None and size > _LARGEST_GRID:
            raise SettingsError(
                f"the grid has {size:,} combinations: give --trials for some of them, or "
                "--one-at-a-time"
            )
        rows = itertools.product(*(domain.values() for domain in space.values()))
        found = [dict(zip(space, row, strict=True)) for row in rows]
        if trials is not None:
            random.Random(base.seed).shuffle(found)
    own = {key: as_value(value_of(base, key)) for key in space}
    found = [point for point in found if any(own[key] != value for key, value in point.items())]
    return [None, *found][:trials]


@contextmanager
def _others(out: Path, count: int, deadline: float | None) -> Iterator[None]:
    """Processes that work on the sweep beside this one, until it is done."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads, before = max(1, (cores or 1) // (count + 1)), torch.get_num_threads()
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(
            target=work_beside,
            args=(out, deadline, min(threads, before), out / f"worker-{i + 2}.log"),
            daemon=True,  # they end with this one
        )
        for i in range(count)
    ]
    for process in others:
        process.start()
    try:
        torch.set_num_threads(min(threads, before) if others else before)
        yield
        for process in others:
            process.join()
    finally:
        torch.set_num_threads(before)
        for process in others:
            process.terminate()


def _tried(out: Path, trial: FrozenTrial, settings: dict[str, Value]) -> Tried:
    attributes = trial.user_attrs
    error = str(attributes.get("error", ""))
    if trial.state is TrialState.FAIL and not error:
        error = "its process was killed; it was tried again"
    return Tried(
        number=trial.number,
        state=trial.state.name.lower(),
        settings=settings,
        value=trial.value if trial.state is TrialState.COMPLETE else None,
        valid=attributes.get("valid", {}),
        epochs={str(epoch): value for epoch, value in sorted(trial.intermediate_values.items())},
        seconds=attributes.get("seconds"),
        run=str(out / RUNS / attributes["run"]) if "run" in attributes else "",
        error=error,
    )


def _tested(out: Path, trial: FrozenTrial) -> dict[str, float]:
    return Run.open(out / RUNS / trial.user_attrs["run"]).metrics()["test"]["metrics"]


def _as_arguments(plan: Plan, tuned: Chosen) -> str:
    """Arguments of ``letterrec fit`` that give a trial's settings."""
    recipe = [] if plan.recipe is None else ["--recipe", plan.recipe]
    given = [*plan.overrides, *as_overrides(tuned)]
    return shlex.join([*recipe, *(word for text in given for word in ("--set", text))])


def _as_recipe(plan: Plan, tuned: Chosen) -> str:
    """A recipe file of a trial's settings."""
    settings = load_settings(plan.recipe, [*plan.overrides, *as_overrides(tuned)])
    told = ", ".join(as_overrides(tuned)) or "the recipe as it is"
    return f"# The best of a sweep on {visible(plan.source)}: {told}.\n{settings.to_toml()}"


def _left_out(result: Swept) -> list[str]:
    """A line for each kind of trial that the table does not show."""
    states = Counter(tried["state"] for tried in result["trials"])
    lines = []
    if states["complete"] > _SHOWN:
        lines.append(f"{states['complete'] - _SHOWN} more are complete")
    if states["pruned"]:
        lines.append(f"{states['pruned']} were stopped at an epoch, behind the others")
    failed = [tried for tried in result["trials"] if tried["state"] == "fail"]
    lines += [f"{tried['number']} skipped: {tried['error']}" for tried in failed]
    if states["waiting"]:
        lines.append(f"{states['waiting']} are still to be tried: --resume")
    return lines


def _short(keys: Sequence[str]) -> dict[str, str]:
    """Names of settings in a table: without their section, where that is clear."""
    last = {key: key.rpartition(".")[2] for key in keys}
    count = Counter(last.values())
    return {key: name if count[name] == 1 else key for key, name in last.items()}
