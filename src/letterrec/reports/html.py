"""A run's report: one HTML file with its tables and plots, that needs nothing else to be read."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from letterrec import api
from letterrec.data.domains import items_in, names_of
from letterrec.errors import RunError
from letterrec.evaluation.breakdowns import Breakdowns, analyse
from letterrec.files import write_text
from letterrec.identifiers.diagnostics import domain_use
from letterrec.reports.comparison import groups_plots, groups_table, metrics_parts
from letterrec.reports.examples import example_parts
from letterrec.reports.identifiers import identifier_sections
from letterrec.reports.markup import note, page, panels, section, table
from letterrec.reports.plots import HUES, lines
from letterrec.runs.run import Run
from letterrec.serving.engine import Engine

_STAGES = ("collaborative", "tokenizer", "recommender", "wishes")
_NOT_DRAWN = ("epoch", "seconds")
_MOST = 400  # points of a line


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a finished run.

    Args:
        folder: of the run.
        out: the file; None means ``report.html`` in the folder.

    Returns:
        The file.

    Raises:
        RunError: the run is unfinished or damaged, or the file cannot be written.
    """
    run = Run.open(folder)
    run.require("evaluation")
    path = out if out is not None else run.files.report
    text = report(run)
    try:
        write_text(path, text)
    except OSError as error:
        raise RunError(
            f"{path} could not be written ({error.strerror or error}); name another --out"
        ) from None
    return path


def report(run: Run) -> str:
    """The report of a finished run, as HTML."""
    engine = api.load(run, edits=False)
    dataset, users = engine.dataset, run.settings.evaluation.test_users
    parts = [
        section("Metrics", *metrics_parts(run, dataset)),
        *_groups(analyse(engine.ranker, dataset, users=users)),
        section("Recommendations for five users", *example_parts(engine, users)),
        *_domains(engine),
        *identifier_sections(run, engine),
        *_curves(run),
        section("How it was made", _facts(run), _settings(run)),
    ]
    titles = [html.unescape(t) for part in parts for t in re.findall("<h2>(.*?)</h2>", part)]
    style = (resources.files("letterrec.serving") / "page" / "style.css").read_text("utf-8")
    return page(dataset.name, _summary(engine), style, titles, "\n".join(parts))


def _summary(engine: Engine) -> str:
    dataset = engine.dataset
    return (
        f"{dataset.n_users:,} users · {dataset.n_items:,} items · "
        f"{dataset.n_interactions:,} interactions · {engine.settings.recommender.name}"
    )


def _groups(found: Breakdowns) -> list[str]:
    lists = [
        (name, f"{spread.coverage:.1%}", f"{spread.gini:.3f}")
        for name, spread in found.lists.items()
    ]
    return [
        section(
            "By popularity of the target",
            groups_plots(found.by_popularity),
            groups_table(found.by_popularity),
            note(
                "Fifths of the catalogue, rarest items first; in brackets the occurrences. After ± "
                "half of the 95 % confidence interval."
            ),
        ),
        section(
            "By length of the history",
            groups_plots(found.by_length),
            groups_table(found.by_length),
        ),
        section(
            "What is recommended at all",
            table(("Top 10 of", "Coverage", "Gini index"), lists),
            note(
                "Coverage: items in anyone's list. Gini: 0 if all items come equally often, "
                "near 1 if always the same ones."
            ),
        ),
    ]


def _domains(engine: Engine) -> list[str]:
    """What the domains of a run of several sources have, and how they use the codes."""
    dataset = engine.dataset
    if dataset.domains is None:
        return []
    users = np.repeat(np.arange(dataset.n_users), dataset.interactions.lengths)
    uses = domain_use(engine.identifiers, dataset.domains) if engine.model.generates else {}
    rows = []
    for name in names_of(dataset):
        own = items_in(dataset, name)
        mine = own[dataset.interactions.items]
        row = [name, f"{own.sum():,}", f"{len(np.unique(users[mine])):,}", f"{mine.sum():,}"]
        if name in uses:
            use = uses[name]
            row += [" ".join(str(level["codes_used"]) for level in use["levels"])]
            row += [f"{use['shared']:.1%}"]
        rows.append(row)
    head = ["", "Items", "Users", "Interactions"]
    head += ["Codes used, by level", "First code shared"] if uses else []
    words = "First code shared: items whose first code items of another domain have too."
    return [section("Domains", table(head, rows), note(words) if uses else "")]


def _curves(run: Run) -> list[str]:
    """How each stage's training went: a panel for each loss and each metric of validation."""
    parts = []
    for stage in _STAGES:
        try:
            log = run.training_log(stage)
        except RunError:
            continue  # this stage trained nothing, or its checkpoint was deleted or damaged
        figures = list(_stage_curves(log.epochs))
        if figures:
            seconds = f"{len(log.epochs):,} epochs, {log.seconds:,.0f} seconds"
            parts += [f"<h3>{stage}</h3>", note(seconds), panels(figures)]
    return [section("Training", *parts)] if parts else []


def _stage_curves(epochs: Sequence[Mapping[str, float]]) -> Iterator[str]:
    names = dict.fromkeys(name for epoch in epochs for name in epoch if name not in _NOT_DRAWN)
    for name in names:
        points = [(e["epoch"] + 1, e[name]) for e in epochs if name in e and math.isfinite(e[name])]
        points = points[:: max(1, len(points) // _MOST)]
        if points:
            yield lines(name, points, HUES[1 if name.startswith("valid/") else 0], "epoch")


def _facts(run: Run) -> str:
    about = run.about
    rows = [
        ("source", about["source"]),
        ("started", about["started"]),
        ("seed", str(about["seed"])),
        ("LetterRec", f"{about['letterrec']}, commit {about['commit'] or 'not known'}"),
        ("Python", about["python"]),
        ("packages", ", ".join(f"{k} {v}" for k, v in about["packages"].items())),
        ("machine", ", ".join(str(v) for v in about["machine"].values() if v)),
        *((f"stage {name}", f"{s['seconds']:.1f} s") for name, s in about["stages"].items()),
    ]
    return table(("", ""), rows)


def _settings(run: Run) -> str:
    text = html.escape(run.settings.to_toml())
    return f"<details><summary>All settings</summary><pre>{text}</pre></details>"
