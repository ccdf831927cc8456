"""One setting at a time: what it does to validation metrics (the paper's Fig. 8).

Budgets rise like a ladder, cheapest first (successive halving; Jamieson and Talwalkar, AISTATS
2016): all settings are trained for few epochs, the better half of them for more, and so on. Each
rung trains anew, since the learning rate's schedule depends on the number of epochs; embeddings
and identifiers are taken over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from letterrec.baselines import is_baseline
from letterrec.config.loading import load_settings
from letterrec.config.settings import Settings
from letterrec.data import check_source
from letterrec.errors import IdentifierError, SettingsError
from letterrec.files import write_json
from letterrec.progress import say
from letterrec.studies import Model
from letterrec.studies.paper import FIGURE_8
from letterrec.studies.rows import ALONE, is_known
from letterrec.studies.runs import finished_run, seconds_of
from letterrec.studies.sheets import Sheet, figure

_SASREC: Mapping[str, tuple[float, ...]] = {
    "collaborative.dim": (32, 64, 128),
    "collaborative.layers": (1, 2, 3),
    "collaborative.dropout": (0.2, 0.35, 0.5),
    "collaborative.training.learning_rate": (1e-3, 2e-3, 4e-3),
    "collaborative.training.weight_decay": (0.01, 0.1),
}
_GRIDS: Mapping[Model, Mapping[str, tuple[float, ...]]] = {
    "generative": FIGURE_8,
    "sasrec": _SASREC,
}
_BASELINE: Mapping[str, tuple[float, ...]] = {  # what a baseline has of these
    "recommender.dim": (32, 64, 128),
    "recommender.layers": (1, 2, 3),
    "recommender.dropout": (0.0, 0.3, 0.5, 0.7),
    "recommender.window": (3, 5, 8),
    "recommender.masked": (0.2, 0.4),
    "recommender.last": (0.2, 0.5),
    "recommender.ridge": (100.0, 300.0, 1000.0),
    "recommender.decay": (0.6, 0.85),
    "recommender.ahead": (0.2, 0.5, 0.8),
    "training.learning_rate": (1e-3, 2e-3, 5e-3),
    "training.weight_decay": (0.01, 0.1, 1.0),
}
_EPOCHS: Mapping[Model, str] = {
    "generative": "training.epochs",
    "sasrec": "collaborative.training.epochs",
}
_BASE = "base"
_PAPERS = "paper-letter-rqt"  # the recipe that the paper's ranges are tried on


@dataclass
class Point:
    """Settings that are tried.

    Attributes:
        name: ``base``, or the one setting that differs from it.
        overrides: over the recipe.
        rungs: per budget ``epochs``, ``valid`` and ``test`` metrics, ``seconds`` and ``folder``.
        skipped: why these settings cannot be run; "" if they can.
    """

    name: str
    overrides: list[str]
    rungs: list[dict[str, Any]] = field(default_factory=list)
    skipped: str = ""


def sweep(
    source: str,
    out: Path,
    *,
    over: Sequence[str] = (),
    epochs: Sequence[int] = (),
    model: Model = "generative",
    recipe: str | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Try settings one at a time, cheapest budget first; finished runs are read.

    Args:
        source: the data.
        out: where the runs go, and ``sweep.json`` with what is returned.
        over: ``section.key=value,value,...``; none takes the grid of the paper's Fig. 8, or one
            for SASRec or for what the baseline of the recipe has. Without a recipe, the first
            starts from ``paper-letter-rqt``, where alpha and beta mean what they mean in the paper.
        epochs: the ladder, rising; none takes a quarter of the recipe's epochs, then all of them.
        model: what is trained; ``"sasrec"`` tunes the baseline.
        recipe: where settings start from.
        overrides: ``section.key=value`` for all runs.

    Returns:
        ``source``, ``model``, ``criterion``, ``ladder``, ``base`` (the recipe's values of what is
        varied), ``points`` (as `Point`), and the name of the ``best`` on validation.

    Raises:
        SettingsError: a setting does not exist, or the ladder does not rise.
    """
    if recipe is None and not over and model == "generative":
        recipe = _PAPERS
    shared = [ALONE, *overrides, *(["tokenizer.alpha=0"] if model == "sasrec" else [])]
    base = load_settings(recipe, shared)
    grid = _parse_grid(over) or _default_grid(model, base)
    if _EPOCHS[model] in grid:
        raise SettingsError(f"{_EPOCHS[model]} is the budget of a sweep; give it as --epochs")
    ladder = _ladder(epochs, int(_value(base, _EPOCHS[model])))
    points = _points(grid, base, recipe, shared)
    check_source(source)
    result: dict[str, Any] = {
        "source": source,
        "model": model,
        "criterion": base.evaluation.criterion,
        "ladder": ladder,
        "base": {key: _value(base, key) for key in grid},
        "best": None,
    }
    going = points
    for rung, budget in enumerate(ladder):
        for i, point in enumerate(going, start=1):
            say(f"{budget} epochs, {i} of {len(going)}: {point.name}")
            settings = load_settings(recipe, [*point.overrides, f"{_EPOCHS[model]}={budget}"])
            folder = out / f"{budget}-epochs" / point.name.replace("/", "_")
            _climb(point, source, folder, settings, model, budget, out)
            write_json(out / "sweep.json", result | {"points": [vars(p) for p in points]})
        going = _ranked([p for p in going if not p.skipped], base.evaluation.criterion)
        result["best"] = going[0].name
        if rung + 1 < len(ladder):
            kept = going[: -(-len(going) // 2)]
            going = kept if points[0] in kept else [*kept, points[0]]
    result["points"] = [vars(p) for p in points]
    write_json(out / "sweep.json", result)
    return result


def _climb(
    point: Point,
    source: str,
    folder: Path,
    settings: Settings,
    model: Model,
    budget: int,
    shelf: Path,
) -> None:
    """Run a point with a budget; what cannot be run is noted, unless it is the base."""
    try:
        run = finished_run(source, folder, settings, model=model, shelf=shelf)
    except (IdentifierError, SettingsError) as error:
        if point.name == _BASE:
            raise
        point.skipped = str(error)
        say(f"  skipped: {error}")
        return
    metrics = run.metrics()
    point.rungs.append(
        {
            "epochs": budget,
            "valid": metrics["valid"]["metrics"],
            "test": metrics["test"]["metrics"],
            "seconds": seconds_of(run),
            "folder": str(folder),
        }
    )


def sweep_sheet(result: Mapping[str, Any]) -> Sheet:
    """The points, best first; test metrics of the best and of the base alone.

    Args:
        result: from `sweep`.
    """
    columns = ["setting", "epochs", "Recall@10", "NDCG@10", "min", "test Recall@10", "test NDCG@10"]
    sheet = Sheet(f"One setting at a time: {result['source']}", columns)
    points = [Point(**p) for p in result["points"]]
    for point in _ranked([p for p in points if p.rungs and not p.skipped], result["criterion"]):
        last = point.rungs[-1]
        is_shown = point.name in (result["best"], _BASE)
        test = [figure(last["test"][m]) if is_shown else "" for m in ("recall@10", "ndcg@10")]
        sheet.rows.append(
            [
                point.name,
                str(last["epochs"]),
                figure(last["valid"]["recall@10"]),
                figure(last["valid"]["ndcg@10"]),
                f"{last['seconds'] / 60:.1f}",
                *test,
            ]
        )
    sheet.rows += [[p.name, "skipped", *[""] * 5] for p in points if p.skipped]
    values = ", ".join(f"{key}={value}" for key, value in result["base"].items())
    sheet.note = (
        f"validation split unless it says test; best by {result['criterion']}: {result['best']}; "
        f"base: {values}"
    )
    return sheet


def _parse_grid(over: Sequence[str]) -> dict[str, list[str]]:
    grid: dict[str, list[str]] = {}
    for text in over:
        key, _, values = text.partition("=")
        found = [value.strip() for value in values.split(",") if value.strip()]
        if not found:
            raise SettingsError(
                f"--over {text!r}: expected section.key=value,value, as in "
                "tokenizer.alpha=0,0.02,0.1"
            )
        grid.setdefault(key.strip(), []).extend(found)
    return grid


def _default_grid(model: Model, base: Settings) -> dict[str, list[str]]:
    is_scoring = model == "generative" and is_baseline(base)
    grid = _BASELINE if is_scoring else _GRIDS[model]
    return {key: [str(v) for v in grid[key]] for key in grid if is_known(key, base)}


def _points(
    grid: Mapping[str, Sequence[str]], base: Settings, recipe: str | None, shared: list[str]
) -> list[Point]:
    """The base and what differs from it in one setting, each once; all are checked here."""
    points = [Point(_BASE, shared)]
    seen = [base]
    for key, values in grid.items():
        for value in values:
            overrides = [*shared, f"{key}={value}"]
            settings = load_settings(recipe, overrides)
            if settings not in seen and _value(settings, key) != _value(base, key):
                seen.append(settings)
                points.append(Point(f"{key}={value}", overrides))
    return points


def _ladder(epochs: Sequence[int], full: int) -> list[int]:
    ladder = list(epochs) or sorted({-(-full // 4), full})
    if ladder != sorted(set(ladder)) or ladder[0] < 1:
        raise SettingsError(f"--epochs {','.join(map(str, ladder))}: expected rising numbers")
    return ladder


def _ranked(points: Sequence[Point], criterion: str) -> list[Point]:
    """The farthest up the ladder first, then the best on validation."""
    return sorted(points, key=lambda p: (-len(p.rungs), -p.rungs[-1]["valid"][criterion]))


def _value(settings: Settings, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        section, value = value, getattr(value, part)
    return section.usual.get(part) if value is None else value
