"""What a sweep has found: its trials, the best of them as a recipe, and a table of them."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from optuna.trial import FrozenTrial, TrialState

from letterrec.errors import RunError
from letterrec.files import write_json, write_text
from letterrec.progress import visible
from letterrec.runs.run import Run
from letterrec.studies.sheets import Sheet, figure, heading
from letterrec.studies.spaces import Value, as_overrides, brief, differing, value_of
from letterrec.studies.study import RECIPE, Chosen, Plan, Queue
from letterrec.studies.working import RUNS

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
    settings = {t.number: differing(base, t.params) for t in trials}
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
    settings = plan.with_values(tuned)
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
