"""A sweep: settings tuned on validation by Optuna, by any number of workers on one study."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from letterrec.config.loading import load_settings
from letterrec.config.settings import Settings, is_baseline
from letterrec.data import check_source
from letterrec.errors import SettingsError
from letterrec.studies import PrunerName, SamplerName
from letterrec.studies.default_spaces import default_space, paper_space
from letterrec.studies.findings import Swept, found_in
from letterrec.studies.spaces import (
    Space,
    as_value,
    check_space,
    space_of,
    value_of,
)
from letterrec.studies.study import Chosen, Plan, Queue
from letterrec.studies.working import prepare, work, work_beside

PAPERS = "paper"  # the space of the paper's Fig. 8
_PAPERS_RECIPE = "paper-letter-rqt"  # on which its ranges mean what they mean in the paper
_TRIALS = 20  # where the values are not a grid's
_LARGEST_GRID = 500  # that is tried without being asked for in numbers


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
            either it is the recommender's own, and for ``sampler="grid"`` without a recipe the
            paper's, one at a time on ``paper-letter-rqt``.
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
    is_untold = not (over or space or recipe) and not is_baseline(load_settings(None, overrides))
    if sampler == "grid" and is_untold:
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
    found: list[Chosen]
    if one_at_a_time:
        found = [{key: value} for key, domain in space.items() for value in domain.values()]
    else:
        size = math.prod(len(domain.values()) for domain in space.values())
        if trials is None and size > _LARGEST_GRID:
            raise SettingsError(
                f"the grid has {size:,} combinations: give --trials for some of them, or "
                "--one-at-a-time"
            )
        found = _combinations(space, size, size if trials is None else trials, base.seed)
    own = {key: as_value(value_of(base, key)) for key in space}
    found = [point for point in found if any(own[key] != value for key, value in point.items())]
    return [None, *found][:trials]


def _combinations(space: Space, size: int, count: int, seed: int) -> list[Chosen]:
    """Combinations of a space's values: all in their order, or some, drawn by the seed."""
    rows: Iterable[int] = range(size)
    if count < size:
        random_state, drawn = random.Random(seed), dict[int, None]()
        while len(drawn) < count:
            drawn[random_state.randrange(size)] = None
        rows = drawn
    shape = [len(domain.values()) for domain in space.values()]
    places = np.stack(np.unravel_index(np.fromiter(rows, dtype=np.int64), shape), axis=1)
    options = [domain.values() for domain in space.values()]
    return [
        {key: values[i] for key, values, i in zip(space, options, place, strict=True)}
        for place in places.tolist()
    ]


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
