"""The paper's figures 3, 6, 7 and 8, made anew: as SVG, as HTML and as CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from letterrec import api
from letterrec.config.loading import load_settings
from letterrec.data import Dataset, find_sources, read
from letterrec.embeddings.projection import principal_components
from letterrec.evaluation.ranking import rank_cases
from letterrec.files import write_text
from letterrec.identifiers.diagnostics import code_counts
from letterrec.progress import say
from letterrec.runs.run import Run
from letterrec.studies import FigureName
from letterrec.studies.drawings import Panel, Series, as_csv, as_html, as_svg, check_html
from letterrec.studies.findings import Swept
from letterrec.studies.reproduce import check_overrides
from letterrec.studies.rows import ALONE, ROWS, settings_of
from letterrec.studies.runs import finished_run
from letterrec.studies.sheets import heading
from letterrec.studies.sweep import PAPERS, sweep

_GROUPS = 20  # of codes along the first axis of Fig. 3
_TOP = 10  # items of a list that count as generated in Fig. 3
_WITHOUT, _WITH = "collaborative", "both"  # rows that differ by eq. 4 alone


@dataclass(frozen=True)
class Study:
    """What a figure is made from.

    Attributes:
        name: of the data.
        source: the data.
        dataset: as read.
        folder: of the runs, those of the tables among them.
        recommender: the recipe that rows without one of their own start from.
        overrides: ``section.key=value`` for all runs.
        over: settings and values of Fig. 8, as for `sweep.sweep`; none takes the paper's.
    """

    name: str
    source: str
    dataset: Dataset
    folder: Path
    recommender: str
    overrides: Sequence[str]
    over: Sequence[str] = ()

    def run(self, row: str, until: Literal["identifiers", "evaluation"]) -> Run:
        """The run of a table's row with seed 0, made if need be."""
        say(f"{self.name}: {ROWS[row].label}")
        run = finished_run(
            self.source,
            self.folder / (ROWS[row].recommender or self.recommender) / row / "seed-0",
            settings_of(ROWS[row], self.recommender, 0, self.overrides),
            until=until,
            shelf=self.folder,
        )
        run.check_data(self.dataset)
        return run


def draw(
    name: FigureName,
    data: str,
    out: Path,
    *,
    recommender: str = "rqt",
    overrides: Sequence[str] = (),
    over: Sequence[str] = (),
) -> list[Path]:
    """Make one of the paper's figures for each data set, reading runs that are finished.

    Args:
        name: of the figure.
        data: a data source, or a folder of them.
        out: where the runs go, as for `reproduce.reproduce`, and
            ``DATA/FIGURE-RECOMMENDER.svg``, ``.html`` and ``.csv``.
        recommender: of the runs.
        overrides: ``section.key=value`` for all runs.
        over: settings and values of Fig. 8, as for `sweep.sweep`; none takes the paper's.

    Returns:
        The files, three for each data set.

    Raises:
        DataError: there are no data.
        SettingsError: an override does not go with the figure.
        MissingExtra: plotly is not installed.
    """
    check_html()  # before hours of training, not after them
    sources = find_sources(data)
    check_overrides("table2", recommender, overrides)  # whose rows the figures show
    title, make = FIGURES[name]
    written = []
    for data_name, source in sources.items():
        folder = out / data_name
        dataset = read(source, **load_settings(recommender, list(overrides)).data.reading())
        panels = make(Study(data_name, source, dataset, folder, recommender, overrides, over))
        whole, columns = f"{title}: {data_name}", 3 if name == "figure8" else 2
        for ending, text in (
            ("svg", as_svg(whole, panels, columns)),
            ("html", as_html(whole, panels, columns)),
            ("csv", as_csv(panels)),
        ):
            written.append(folder / f"{name}-{recommender}.{ending}")
            write_text(written[-1], text)
    return written


def _generation_bias(study: Study) -> list[Panel]:
    """Fig. 3: how often first codes are targets in training, and how often they are generated."""
    panels = []
    for row in ("plain", "letter"):
        run = study.run(row, "evaluation")
        engine = api.load(run, edits=False)
        first = engine.identifiers.codes[:, 0]
        lists = rank_cases(
            engine.ranker,
            study.dataset.held_out("test"),
            k=_TOP,
            batch_size=run.settings.evaluation.batch_size,
            label="ranking (test)",
        )
        history = study.dataset.training()
        second = np.minimum(history.offsets[:-1] + 1, history.offsets[1:])
        targets = history.slice(second, history.offsets[1:]).items
        size = engine.identifiers.sizes[0]
        wanted = np.bincount(first[targets], minlength=size)
        generated = np.bincount(first[lists[lists >= 0]], minlength=size)
        order = np.argsort(-wanted, kind="stable")
        groups = _group_names(size)
        bars = Series("targets in training", "bars", _shares(wanted[order], len(groups)))
        line = Series(f"generated (top {_TOP})", "line", _shares(generated[order], len(groups)))
        panels.append(
            Panel(
                ROWS[row].label, "first codes, most frequent first", "share", [bars, line], groups
            )
        )
    return panels


def _first_codes(study: Study) -> list[Panel]:
    """Fig. 6: how items are spread over the first codes, without and with eq. 4; codes without any
    item are left out where both have such.
    """
    found = []
    for row, title in ((_WITHOUT, "without diversity"), (_WITH, "with diversity")):
        identifiers = study.run(row, "identifiers").identifiers(study.dataset)
        counts = np.sort(code_counts(identifiers)[0])[::-1]
        found.append((f"{title}: {int((counts > 0).sum())} of {len(counts)} in use", counts))
    n = max(int((counts > 0).sum()) for _, counts in found)
    labels = [f"{rank}" for rank in range(1, n + 1)]
    panels = []
    for title, counts in found:
        bars = Series("items", "bars", _shares(counts, len(counts))[:n])
        panels.append(
            Panel(title, "first codes, most items first", "share of items", [bars], labels)
        )
    return panels


def _code_embeddings(study: Study) -> list[Panel]:
    """Fig. 7: the first level's code embeddings on three principal components, without and with
    eq. 4.
    """
    panels = []
    for row, title in ((_WITHOUT, "without diversity"), (_WITH, "with diversity")):
        codebooks = study.run(row, "identifiers").tokenizer().codebooks
        assert codebooks is not None  # these rows have codebooks
        where, shares = principal_components(codebooks[0])
        x, y, z = (axis.tolist() for axis in where.T)
        names = [f"PC {i + 1} ({share:.0%})" for i, share in enumerate(shares)]
        points = Series(f"codes; shade: {names[2]}", "points", y, x, z)
        panels.append(Panel(title, names[0], names[1], [points]))
    return panels


def _sweeps(study: Study) -> list[Panel]:
    """Fig. 8: validation metrics along each setting, the others as in the row ``letter``."""
    row = ROWS["letter"]
    result = sweep(
        study.source,
        study.folder / "figure8" / study.recommender,
        over=study.over,
        space=None if study.over else PAPERS,
        one_at_a_time=True,
        pruner="none",
        recipe=study.recommender,
        overrides=[ALONE, *row.budget, *study.overrides, *row.settings],
        resume=True,
    )
    panels = []
    for metric in ("recall@10", "ndcg@10"):
        for key in result["space"]:
            found = _along(key, result, metric)
            name = f"{heading(metric)}, validation"
            line = Series(name, "line", [value for _, value in found])
            labels = [f"{value:g}" for value, _ in found]
            panels.append(Panel(key, key.partition(".")[2], name, [line], labels))
    return panels


def _along(key: str, result: Swept, metric: str) -> list[tuple[float, float]]:
    """The values of a setting in their order, with what was measured; skipped ones left out."""
    found = []
    for tried in result["trials"]:
        value = tried["settings"].get(key, None if tried["settings"] else result["base"][key])
        if tried["value"] is not None and isinstance(value, int | float):
            found.append((float(value), tried["valid"][metric]))
    return sorted(found)


def _group_names(size: int) -> list[str]:
    """What groups of codes are called: up to which share of all codes each goes."""
    n = min(_GROUPS, size)
    return [f"{(i + 1) / n:.0%}" for i in range(n)]


def _shares(counts: NDArray[np.integer], groups: int) -> list[float]:
    """The share of all that each of so many groups of neighbouring codes has."""
    total = max(1, int(counts.sum()))
    return [float(part.sum()) / total for part in np.array_split(counts, groups)]


FIGURES: Mapping[FigureName, tuple[str, Callable[[Study], list[Panel]]]] = {
    "figure3": ("Item generation bias (the paper's Fig. 3)", _generation_bias),
    "figure6": ("Items over first codes (the paper's Fig. 6)", _first_codes),
    "figure7": ("Code embeddings of the first level (the paper's Fig. 7)", _code_embeddings),
    "figure8": ("Hyper-parameters (the paper's Fig. 8)", _sweeps),
}
