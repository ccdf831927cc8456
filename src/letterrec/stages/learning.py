"""The model that a run's settings name: made, trained, loaded; and the transitions beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from letterrec.baselines import BASELINES, Baseline
from letterrec.config.keywords import Training
from letterrec.config.section import TrainingSettings
from letterrec.config.settings import Settings, is_baseline
from letterrec.data.dataset import Dataset
from letterrec.data.domains import items_in
from letterrec.data.sequences import Histories
from letterrec.decoding.ranker import GenerativeRanker, Ranker
from letterrec.decoding.trie import Trie
from letterrec.embeddings.query_encoder import QueryEncoder
from letterrec.evaluation.protocol import Validation
from letterrec.files import refuse_damaged
from letterrec.identifiers.identifiers import Identifiers
from letterrec.linear import transition_fitting
from letterrec.linear.context_tuning import tune_context
from letterrec.linear.transitions import Transitions
from letterrec.progress import say
from letterrec.recommenders import RECOMMENDERS, Features, Recommender
from letterrec.runs import tracking
from letterrec.runs.run import Run
from letterrec.stages.stages import Embeddings, MadeRecommender
from letterrec.training import distributed
from letterrec.training.devices import device, set_seed
from letterrec.training.options import TrainingOptions

_CASES_OF_DOMAIN = 200  # of validation, at least, for strengths of a domain's own

Model = Recommender | Baseline


def make_baseline(settings: Settings, dataset: Dataset) -> Baseline:
    """The baseline that the settings name, untrained, its weights decided by the seed."""
    set_seed(settings.seed)
    return BASELINES[settings.recommender.name](
        n_users=dataset.n_users,
        n_items=dataset.n_items,
        max_history=settings.data.max_history,
        **settings.recommender.model_dump(exclude={"name"}),
    )


def trained_baseline(run: Run, dataset: Dataset) -> Baseline:
    """The baseline that the run has trained, in eval mode, on the device.

    Raises:
        RunError: its weights are missing, damaged, or of another shape.
    """
    baseline = make_baseline(run.settings, dataset)
    load_weights(run, baseline)
    return baseline


def make_recommender(
    settings: Settings,
    dataset: Dataset,
    identifiers: Identifiers,
    content: NDArray[np.float32] | None,
    trie: Trie | None = None,
) -> Recommender:
    """The recommender that the settings name, untrained, its weights decided by the seed."""
    features = Features(
        None if content is None else torch.from_numpy(content),
        dataset.titles,
        dataset.texts,
        dataset.preferences,
        dataset.behaviours,
        dataset.targets,
    )
    set_seed(settings.seed)
    recommender = RECOMMENDERS[settings.recommender.name].build(
        identifiers,
        features,
        trie,
        max_history=settings.data.max_history,
        **settings.recommender.model_dump(exclude={"name"}),
    )
    if settings.wishes.enabled and dataset.texts is not None:
        encoder = QueryEncoder(settings.content.encoding())
        recommender.read_wishes(encoder, dataset.texts)
    return recommender


def trained_recommender(
    run: Run, dataset: Dataset, identifiers: Identifiers, content: NDArray[np.float32] | None
) -> Recommender:
    """The recommender that the run has trained, in eval mode, on the device.

    Raises:
        RunError: its weights are missing, damaged, or of another shape.
    """
    recommender = make_recommender(run.settings, dataset, identifiers, content)
    load_weights(run, recommender)
    load_wishes(run, recommender)
    return recommender


def load_weights(run: Run, recommender: Model) -> None:
    """Put what training has decided into a recommender, on the device, and end its training.

    Raises:
        RunError: the weights are missing, damaged, or of another shape.
    """
    weights = run.weights()
    with refuse_damaged(run.weights_path):
        recommender.load_state_dict(weights)
    recommender.to(device()).eval()


def load_wishes(run: Run, recommender: Recommender) -> None:
    """Put what training has decided into the recommender's reader of wishes, where it has one.

    Raises:
        RunError: the weights are missing, damaged, or of another shape.
    """
    if recommender.wishes is None:
        return
    weights = run.wishes()
    reader = recommender.wishes.reader
    with refuse_damaged(run.files.wishes):
        reader.load_state_dict(weights)
    reader.to(device()).eval()
    recommender.eval()  # what it keeps of the reader is made anew


def train_recommender(
    run: Run, dataset: Dataset, recommender: Model, ranker: Ranker
) -> MadeRecommender:
    """Train a recommender; ``ranker``, which ranks with it, shows when it is best."""
    options = options_of(run, "recommender", run.settings.training)
    cases = validation_of(run, dataset)
    log = recommender.fit(
        learned_from(run, dataset),
        replace(options, every=run.settings.evaluation.every),
        validate=(lambda: cases.metrics(ranker)) if cases else None,
    )
    return MadeRecommender(recommender.state_dict(), log)


def learn_all(
    run: Run, dataset: Dataset, recommender: Model, *, stop: int | None = None, epochs: int | None
) -> MadeRecommender:
    """Train a recommender on all that a data set has, without validation.

    Args:
        run: that is made.
        dataset: nothing of it is held out.
        recommender: untrained, or to be trained on.
        stop: epochs after which training ends, by the schedule that the settings have; None: none
            sooner.
        epochs: what the schedule is of instead; None: what the settings have.
    """
    options = options_of(run, "recommender", run.settings.training)
    options = replace(options, stop=stop)
    if epochs is not None:
        options = replace(options, epochs=epochs, most=None)
    log = recommender.fit(learned_from(run, dataset), options)
    return MadeRecommender(recommender.state_dict(), log)


def learned_from(run: Run, dataset: Dataset) -> Histories:
    """What the run's model is trained on: a baseline knows one kind of interaction, the targets."""
    training = dataset.training()
    return training.only(dataset.target_behaviours) if is_baseline(run.settings) else training


def relearned_transitions(
    run: Run,
    dataset: Dataset,
    content: Embeddings | None,
    chosen: Transitions | None,
) -> Transitions | None:
    """Transitions learned from all that a data set has, with the strengths that others were chosen
    with; None where there were none.
    """
    if chosen is None:
        return None
    transitions, similar = _learned(run, dataset, content, chosen.own)
    return transition_fitting.adopt_strengths(transitions, chosen, similar, dataset.domains)


def _learned(
    run: Run, dataset: Dataset, content: Embeddings | None, own: float
) -> tuple[Transitions, sp.csr_array[np.float32] | None]:
    """Transitions of what is trained on, and what similarity adds; see `learn_transitions`."""
    return transition_fitting.learn_transitions(
        dataset.training(),
        dataset.n_items,
        _similarity(content),
        n_behaviours=dataset.n_behaviours,
        targets=dataset.targets,
        own=own,
        **run.settings.transitions.learning(),
    )


def _similarity(content: Embeddings | None) -> sp.csr_array[np.float32] | None:
    return (
        None if content is None or len(content) < 2 else transition_fitting.similarity_of(content)
    )


def fit_transitions(
    run: Run, dataset: Dataset, content: Embeddings | None, ranker: GenerativeRanker
) -> Transitions | None:
    """Transitions of the training interactions, of the strength that validation chooses; None
    where the settings do without. How they treat several behaviours is chosen on the latest
    interactions of training, where there are enough.
    """
    settings = run.settings.transitions
    if not settings.enabled:
        return None
    cases = validation_of(run, dataset)

    def score(transitions: Transitions, cases: Validation = cases) -> float:
        metrics = cases.metrics(replace(ranker, transitions=transitions))
        return metrics[run.settings.evaluation.criterion]

    found = _context(run, dataset, content) if dataset.behaviours and cases else None
    transitions, similar = _learned(run, dataset, content, 1.0 if found is None else found[0])
    if found is not None:
        transitions = replace(transitions.with_context(found[1]), of_context=None)
    chosen = (
        transition_fitting.tune_strengths(transitions, score, similar) if cases else transitions
    )
    of_behaviours = f", context {chosen.context:g}, behaviours apart {chosen.own:g}"
    say(
        f"  chosen on validation: {_told(chosen.strength)}"
        f"{of_behaviours if dataset.behaviours else ''}"
    )
    if dataset.domains is None or not cases:
        return chosen

    def score_of(domain: str) -> Callable[[Transitions], float] | None:
        part = cases.of_latest(items_in(dataset, domain))
        return partial(score, cases=part) if len(part.cases) >= _CASES_OF_DOMAIN else None

    chosen = transition_fitting.tune_domains(
        transitions, chosen, dataset.domains, score_of, similar
    )
    if chosen.by_domain is not None:
        for domain, strength in chosen.by_domain.strengths.items():
            say(f"  of {domain}: {_told(strength)}")
    return chosen


def _told(strength: Mapping[str, float]) -> str:
    return "seen items {seen:g}, like items {like:g}, decay {decay:g}, weight {weight:g}".format(
        **strength
    )


def _context(run: Run, dataset: Dataset, content: Embeddings | None) -> tuple[float, float] | None:
    """How transitions treat the behaviours of a data set; see `tune_context`."""
    return tune_context(
        dataset.training(),
        dataset.n_items,
        _similarity(content),
        n_behaviours=dataset.n_behaviours,
        targets=dataset.targets,
        **run.settings.transitions.learning(),
    )


def validation_of(run: Run, dataset: Dataset) -> Validation:
    """The validation cases that decide during training."""
    settings = run.settings.evaluation
    return Validation(
        dataset,
        users=settings.users,
        seed=run.settings.seed,
        batch_size=settings.batch_size,
    )


def options_of(run: Run, stage: str, settings: TrainingSettings | None) -> TrainingOptions:
    """How a stage's network is trained; the defaults where it has no settings of its own."""
    given: Training = {} if settings is None else settings.options()
    is_main = distributed.is_main()
    return TrainingOptions(
        **given,
        criterion=run.settings.evaluation.criterion,
        seed=run.settings.seed,
        folder=run.checkpoints(stage),
        events=run.settings.tracker == "tensorboard",
        on_epoch=tracking.epochs_to(run.files, run.settings, stage) if is_main else None,
    )
