"""What each stage leaves in a run, and how it is read back.

`Run.stage` does a stage once: what a run has is loaded, what it lacks is made and kept. Here stands
what each stage makes, and which files of the run that becomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from letterrec.data.dataset import Dataset
from letterrec.data.splits import Split
from letterrec.evaluation.results import Evaluation, Measured
from letterrec.identifiers.diagnostics import diagnose
from letterrec.identifiers.identifiers import Identifiers
from letterrec.linear.transitions import Transitions
from letterrec.nn.sasrec import SASRec
from letterrec.recommenders.wishes.reader import WishReader
from letterrec.runs.run import Facts, Run, Stage
from letterrec.runs.tracking import tell_metrics
from letterrec.tokenizers import Tokenizer
from letterrec.training.checkpoints import TrainingLog

Embeddings = NDArray[np.float32]


class MadeCf(NamedTuple):
    """CF embeddings float32 ``(n_items, d)``, and the model that they are from, if trained here."""

    embeddings: Embeddings
    model: SASRec | None = None


class MadeTokenizer(NamedTuple):
    """A fitted tokenizer, and its reconstruction error on the items that it was fitted to, if its
    codes stand for vectors.
    """

    tokenizer: Tokenizer
    reconstruction_error: float | None


class MadeIdentifiers(NamedTuple):
    """Identifiers, and what their diagnostics compare them with.

    Attributes:
        identifiers: one per item.
        before: int32 ``(n_items, n_levels)``: the codes before collisions were resolved.
        cf: float32 ``(n_items, d)`` CF embeddings, if there are any.
    """

    identifiers: Identifiers
    before: NDArray[np.int32]
    cf: Embeddings | None


class MadeMetrics(NamedTuple):
    """What was measured on each split, and beside it of popularity."""

    of_splits: Mapping[Split, Measured]
    popularity: dict[Split, dict[str, float]]


class MadeRecommender(NamedTuple):
    """What training decided, and its log."""

    weights: Mapping[str, Tensor]
    log: TrainingLog


def _keep_content(run: Run, dataset: Dataset, made: Embeddings) -> Facts:
    run.save_embeddings("content", made, dataset)
    settings = run.settings.content
    origin = {"file": settings.source} if settings.is_file else {"encoder": settings.encoder}
    return {**origin, "dim": made.shape[1]}


def _keep_cf(run: Run, dataset: Dataset, made: MadeCf) -> Facts:
    if made.model is not None:
        run.save_sasrec(made.model, dataset)
    run.save_embeddings("collaborative", made.embeddings, dataset)
    return {"dim": made.embeddings.shape[1]}


def _keep_tokenizer(run: Run, dataset: Dataset, made: MadeTokenizer) -> Facts:
    run.save_tokenizer(made.tokenizer)
    return {"reconstruction_error": made.reconstruction_error}


def _keep_identifiers(run: Run, dataset: Dataset, made: MadeIdentifiers) -> Facts:
    run.save_identifiers(made.identifiers, dataset)
    run.save_diagnostics(diagnose(made.identifiers, before=made.before, cf=made.cf))
    return {}


def _keep_recommender(run: Run, dataset: Dataset, made: MadeRecommender) -> Facts:
    run.save_weights(made.weights)
    return {"best_epoch": made.log.best_epoch, "epochs": len(made.log.epochs)}


def _keep_preference(run: Run, dataset: Dataset, made: MadeRecommender) -> Facts:
    if made.log.best_epoch >= 0:
        run.save_preferred(made.weights)
    return {"best_epoch": made.log.best_epoch, "epochs": len(made.log.epochs)}


def _keep_transitions(run: Run, dataset: Dataset, made: Transitions | None) -> Facts:
    if made is None:
        return {}
    run.save_transitions(made, dataset)
    return dict(made.strength)


def _keep_wishes(run: Run, dataset: Dataset, made: MadeRecommender) -> Facts:
    run.save_wishes(made.weights)
    strengths = {name: float(made.weights[name]) for name in WishReader.strengths}
    return {"best_epoch": made.log.best_epoch, "epochs": len(made.log.epochs), **strengths}


def _keep_evaluation(run: Run, dataset: Dataset, made: MadeMetrics) -> Facts:
    run.save_ranks({str(split): m.ranks for split, m in made.of_splits.items()}, dataset)
    metrics: Evaluation = {}
    for split, measured in made.of_splits.items():
        metrics[split] = measured.metrics
    metrics["popularity"] = made.popularity
    run.save_metrics(metrics)
    tell_metrics(run.files, run.settings, metrics)
    return {}


CONTENT: Stage[Embeddings, Embeddings | None] = Stage(
    "content", _keep_content, lambda run, dataset: run.embeddings("content", dataset.n_items)
)
COLLABORATIVE: Stage[MadeCf, Embeddings | None] = Stage(
    "collaborative",
    _keep_cf,
    lambda run, dataset: run.embeddings("collaborative", dataset.n_items),
)
TOKENIZER: Stage[MadeTokenizer, Tokenizer] = Stage(
    "tokenizer", _keep_tokenizer, lambda run, dataset: run.tokenizer()
)
IDENTIFIERS: Stage[MadeIdentifiers, Identifiers] = Stage(
    "identifiers", _keep_identifiers, lambda run, dataset: run.identifiers(dataset)
)
RECOMMENDER: Stage[MadeRecommender, Mapping[str, Tensor]] = Stage(
    "recommender", _keep_recommender, lambda run, dataset: run.weights()
)
PREFERENCE: Stage[MadeRecommender, Mapping[str, Tensor]] = Stage(
    "preference", _keep_preference, lambda run, dataset: run.weights()
)
TRANSITIONS: Stage[Transitions | None, Transitions | None] = Stage(
    "transitions", _keep_transitions, lambda run, dataset: run.transitions(dataset.n_items)
)
WISHES: Stage[MadeRecommender, Mapping[str, Tensor]] = Stage(
    "wishes", _keep_wishes, lambda run, dataset: run.wishes()
)
EVALUATION: Stage[MadeMetrics, Evaluation] = Stage(
    "evaluation", _keep_evaluation, lambda run, dataset: run.metrics()
)
