"""How well a run's model ranks: what the settings measure, and on which cases."""

from __future__ import annotations

from collections.abc import Iterable

from letterrec.config.loading import parse_settings
from letterrec.config.settings import Settings
from letterrec.data.dataset import Dataset
from letterrec.data.splits import SPLITS, Split
from letterrec.decoding.ranker import Ranker
from letterrec.embeddings.content import embed
from letterrec.errors import RunError
from letterrec.evaluation import cold_start
from letterrec.evaluation.breakdowns import By, grouped
from letterrec.evaluation.metrics import measures_of
from letterrec.evaluation.protocol import evaluate_split, popularity_metrics
from letterrec.evaluation.results import Measured
from letterrec.identifiers.identifiers import Identifiers
from letterrec.runs.run import Run
from letterrec.stages.learning import trained_recommender
from letterrec.stages.stages import MadeMetrics
from letterrec.tokenizers import Items


def measure(
    run: Run, dataset: Dataset, ranker: Ranker, identifiers: Identifiers | None = None
) -> MadeMetrics:
    """How well a ranker does on both splits, and popularity beside it."""
    measures = measures_of(run.settings)
    measured = {
        split: measure_split(run.settings, dataset, ranker, split, identifiers=identifiers)
        for split in SPLITS
    }
    popular = {
        split: popularity_metrics(dataset, of_split.cases, measures)
        for split, of_split in measured.items()
    }
    return MadeMetrics(measured, popular)


def measure_split(
    settings: Settings,
    dataset: Dataset,
    ranker: Ranker,
    split: Split,
    *,
    identifiers: Identifiers | None = None,
    beam: int | None = None,
    exclude_seen: bool = False,
    by: By | None = None,
    domain: str | None = None,
    behaviour: int = -1,
) -> Measured:
    """How well a ranker does on a split, measured as the settings say.

    Args:
        settings: of the run.
        dataset: holds the cases.
        ranker: is measured.
        split: whose held-out interactions are ranked.
        identifiers: of the items, where the ranker searches them.
        beam: prefixes kept per level, where it does; None: as the settings say.
        exclude_seen: rank without the items of the history.
        by: also by group of users.
        domain: rank the items of this one alone.
        behaviour: row of the one that is asked for; -1: what is to be predicted.
    """
    chosen, measures = settings.evaluation, measures_of(settings)
    measured = evaluate_split(
        ranker,
        dataset,
        split,
        beam=None if identifiers is None else beam or chosen.beam,
        batch_size=chosen.batch_size,
        exclude_seen=exclude_seen,
        identifiers=identifiers,
        measures=measures,
        users=chosen.test_users,
        domain=domain,
        behaviour=behaviour,
    )
    if by is not None:
        metrics, ranks, cases = measured
        metrics["groups"] = grouped(by, ranks, cases, dataset, measures)
    return measured


def measured_as(
    settings: Settings, cuts: Iterable[int], metrics: Iterable[str], users: int | None
) -> Settings:
    """Settings of a run with further cuts and metrics, and another number of users.

    Raises:
        SettingsError: one of them is none.
    """
    there = settings.evaluation
    more = {"cuts": [*there.cuts, *cuts], "metrics": [*there.metrics, *metrics]}
    sample = {} if users is None else {"test_users": users}
    kept = settings.model_dump(mode="json", exclude_none=True)
    return parse_settings(kept | {"evaluation": kept["evaluation"] | more | sample})


def measure_cold(run: Run, beam: int | None = None) -> cold_start.ColdMetrics:
    """Metrics on items held out of training (``data.cold_share``); see `cold_start.evaluate_cold`.

    Args:
        run: finished.
        beam: prefixes kept per level; None takes the run's.

    Raises:
        RunError: nothing was held out, or the run has no tokenizer of its own.
    """
    run.refuse_learned()
    run.require("recommender")
    dataset = run.dataset()
    cold = run.cold()
    content = run.embeddings("content", dataset.n_items)
    if content is None or not run.is_done("tokenizer"):
        raise RunError(
            f"{run.folder} has no tokenizer that makes identifiers from texts; "
            "fit with identifiers.source=learned on items with texts"
        )
    identifiers = run.identifiers(dataset)
    return cold_start.evaluate_cold(
        dataset,
        cold,
        trained_recommender(run, dataset, identifiers, content),
        identifiers,
        run.transitions(dataset.n_items) if run.is_done("transitions") else None,
        tokenizer=run.tokenizer(),
        known=Items(content, run.embeddings("collaborative", len(content))),
        new_content=embed(cold.texts, **run.settings.content.encoding()),
        beam=beam or run.settings.evaluation.beam,
    )
