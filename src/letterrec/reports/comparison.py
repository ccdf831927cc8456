"""Metrics of a run with their confidence intervals, and of what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from letterrec.data.dataset import Dataset
from letterrec.data.splits import SPLITS, Split
from letterrec.decoding.ranker import EventRanker
from letterrec.evaluation.cases import measured_cases
from letterrec.evaluation.metrics import standard_errors
from letterrec.evaluation.protocol import evaluate_split, popularity_ranks
from letterrec.evaluation.results import Evaluation, Group, SplitMetrics, parts_of
from letterrec.reports.markup import note, panels, table
from letterrec.reports.plots import HUES, Bars, bars
from letterrec.runs.run import Run
from letterrec.training.devices import device

METRICS = ("recall@5", "recall@10", "ndcg@5", "ndcg@10")
NAMES = ("Recall@5", "Recall@10", "NDCG@5", "NDCG@10")
_NORMAL = 1.96  # standard errors on either side of a mean: 95 % of a normal distribution
_GROUPED = ("recall@10", "ndcg@10")


@dataclass(frozen=True)
class Row:
    """What is said of one ranker on one split.

    Attributes:
        name: of the ranker.
        metrics: means over users.
        errors: their standard errors; empty where they are not known.
        users: how many; with none there is nothing to say.
    """

    name: str
    metrics: Mapping[str, float]
    errors: Mapping[str, float]
    users: int

    def cells(self) -> list[str]:
        """The metrics with half of their 95 % intervals, as a table shows them."""
        return [cell(self.metrics[m], self.errors.get(m), self.users) for m in METRICS]


def cell(mean: float, error: float | None, cases: int) -> str:
    """A mean with half of its 95 % interval; ``-`` where there are no cases.

    >>> cell(0.25, 0.01, 100), cell(0.25, None, 100), cell(0.0, 0.0, 0)
    ('0.2500 ± 0.0196', '0.2500', '-')
    """
    if not cases:
        return "-"
    return f"{mean:.4f}" if error is None else f"{mean:.4f} ± {_NORMAL * error:.4f}"


def metrics_parts(run: Run, dataset: Dataset) -> list[str]:
    """The run's metrics on both splits and what stands beside them, as a table and as plots."""
    metrics = run.metrics()
    lines: list[list[str]] = []
    shown: list[Row] = []
    for split in reversed(SPLITS):
        result = metrics[split]
        rows = _rows(run, dataset, metrics, split)
        shown = shown or rows
        for i, row in enumerate(rows):
            name = f"{split}, {_users(result)}" if i == 0 else row.name
            lines.append([name, *row.cells()])
    beam = metrics["test"].get("beam")
    how = "score" if beam is None else f"beam search, beam {beam}"
    words = f"Full ranking by {how}; seen items compete."
    if "standard_errors" in metrics["test"]:
        words += " After ± half of the 95 % confidence interval, over users."
    return [table(("", *NAMES), lines), note(words), *_plots(shown)]


def _users(result: SplitMetrics) -> str:
    of = f" of {result['of_users']:,}" if "of_users" in result else ""
    return f"{result['users']:,}{of} users"


def _rows(run: Run, dataset: Dataset, metrics: Evaluation, split: Split) -> list[Row]:
    result = metrics[split]
    n, sample = result["users"], run.settings.evaluation.test_users
    found = [
        Row(run.settings.recommender.name, result["metrics"], result.get("standard_errors", {}), n)
    ]
    for name, own in parts_of(result):
        label = f"{name}, {own['users']:,} users"
        found.append(Row(label, own["metrics"], own.get("standard_errors", {}), own["users"]))
    if "identifier_metrics" in result:
        found.append(Row("by identifier", result["identifier_metrics"], {}, n))
    if run.files.sasrec.exists():  # the network of the CF embeddings ranks items too
        ranker = EventRanker(run.sasrec(dataset), device(), n_behaviours=dataset.n_behaviours)
        said = evaluate_split(ranker, dataset, split, users=sample).metrics
        found.append(Row("SASRec", said["metrics"], said["standard_errors"], said["users"]))
    ranks = popularity_ranks(dataset, measured_cases(dataset, split, sample))
    popular = metrics["popularity"][split]
    return [*found, Row("popularity", popular, standard_errors(ranks), n)]


def _plots(rows: Sequence[Row]) -> list[str]:
    shown = [row for row in rows if row.users]
    if not shown:
        return []
    names = [row.name for row in shown]
    return [
        panels(
            bars(
                f"{name}, test",
                names,
                [
                    Bars(
                        name,
                        [row.metrics[key] for row in shown],
                        HUES[0],
                        [_NORMAL * row.errors.get(key, 0.0) for row in shown],
                    )
                ],
            )
            for name, key in zip(NAMES, METRICS, strict=True)
        )
    ]


def groups_table(groups: Sequence[Group]) -> str:
    """Metrics of groups of cases with half of their 95 % intervals; ``-`` for empty ones."""
    rows = [
        (
            group["name"],
            f"{group['cases']:,}",
            *(
                cell(group["metrics"][key], group["standard_errors"][key], group["cases"])
                for key in _GROUPED
            ),
        )
        for group in groups
    ]
    return table(("", "Cases", "Recall@10", "NDCG@10"), rows)


def groups_plots(groups: Sequence[Group]) -> str:
    """The same as plots, a panel a metric."""
    shown = [group for group in groups if group["cases"]]
    labels = [group["name"].replace(" (", "\n(") for group in shown]
    return panels(
        bars(
            name,
            labels,
            [
                Bars(
                    name,
                    [group["metrics"][key] for group in shown],
                    hue,
                    [_NORMAL * group["standard_errors"][key] for group in shown],
                )
            ],
        )
        for name, key, hue in zip(
            ("Recall@10", "NDCG@10"), _GROUPED, (HUES[0], HUES[2]), strict=True
        )
    )
