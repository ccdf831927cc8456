"""How a run's recommender learns preferences, once it is trained: post-training by DPO.

One place of each user's training history is drawn. The recommender's own beams, over the trie and
without transitions, offer items there; what was chosen is preferred to the others. The weights stay
as they were where validation shows no gain.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from letterrec.data.dataset import Dataset
from letterrec.data.sequences import Histories
from letterrec.data.splits import HeldOut
from letterrec.decoding.ranker import Ranker
from letterrec.errors import DataError
from letterrec.evaluation.ranking import rank_cases
from letterrec.progress import say
from letterrec.recommenders import Recommender
from letterrec.recommenders.preferences import Preferences
from letterrec.runs.run import Run
from letterrec.stages import learning, stages
from letterrec.stages.stages import MadeRecommender
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.options import TrainingOptions


def learn(run: Run, dataset: Dataset, recommender: Recommender, ranker: Ranker) -> None:
    """Train on preferences, where any are to be learned, or take what the run has of it.

    The arguments are those of `learned`.
    """
    if run.settings.preference.enabled:
        make = partial(learned, run, dataset, recommender, ranker)
        run.stage(stages.PREFERENCE, dataset, make)
        learning.load_weights(run, recommender)


def learned(
    run: Run, dataset: Dataset, recommender: Recommender, ranker: Ranker
) -> MadeRecommender:
    """A recommender that has learned preferences, or as it was, whichever validates better.

    Args:
        run: that is made.
        dataset: of the run.
        recommender: trained.
        ranker: ranks with it, without transitions.

    Raises:
        DataError: there is nothing to learn, or to choose by.
    """
    cases = learning.validation_of(run, dataset)
    if not cases:
        raise DataError(
            f"preference.enabled: {dataset.name} has no validation cases to choose by; use data in "
            "which some user has three interactions, or preference.enabled=false"
        )
    criterion = run.settings.evaluation.criterion
    start = {name: weight.clone() for name, weight in recommender.state_dict().items()}
    before = cases.metrics(ranker)[criterion]
    preferences = offered(run, dataset, ranker)
    log = recommender.fit_preferences(
        preferences, _options(run), validate=lambda: cases.metrics(ranker)
    )
    if log.best > before:
        say(f"  valid {criterion}: {before:.4f} before, {log.best:.4f} with preferences")
    else:
        say(
            f"  valid {criterion}: {before:.4f} before, {log.best:.4f} at best with preferences: "
            "the weights stay as they were"
        )
        recommender.load_state_dict(start)
        log.best_epoch = -1
    return MadeRecommender(recommender.state_dict(), log)


def relearned(
    run: Run, dataset: Dataset, recommender: Recommender, ranker: Ranker, epochs: int
) -> MadeRecommender:
    """The same on all that a data set has, without validation.

    Args:
        run: that is made.
        dataset: nothing of it is held out.
        recommender: trained on it.
        ranker: ranks with it, without transitions.
        epochs: that validation chose; 0: the weights stay as they are.
    """
    if not epochs:
        return MadeRecommender(recommender.state_dict(), TrainingLog())
    options = replace(_options(run), stop=epochs)
    log = recommender.fit_preferences(offered(run, dataset, ranker), options)
    return MadeRecommender(recommender.state_dict(), log)


def offered(run: Run, dataset: Dataset, ranker: Ranker) -> Preferences:
    """What was chosen at one place of each user's training history, and what the ranker's beams
    offer there instead; the same for the same seed.

    Args:
        run: whose settings say how much.
        dataset: of the run.
        ranker: ranks with the trained recommender.

    Raises:
        DataError: no user has two interactions to learn from.
    """
    settings, histories = run.settings.preference, dataset.training()
    users, places = _places(dataset, histories, settings.users, run.settings.seed)
    if not len(places):
        raise DataError(
            f"preference.enabled: no user of {dataset.name} has two interactions in training; "
            "use preference.enabled=false"
        )
    before = histories.slice(histories.offsets[users], places)
    chosen = histories.items[places]
    lists = rank_cases(
        ranker,
        HeldOut(users, before, chosen),
        k=settings.rejected + 1,
        batch_size=run.settings.evaluation.batch_size,
        label="preferences: beams",
    )
    return Preferences(
        before,
        chosen.astype(np.int64),
        _others(lists, chosen),
        settings.beta,
        settings.likelihood,
    )


def _places(
    dataset: Dataset, histories: Histories, n: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """At most ``n`` users, and of each a place in ``histories.items`` that is not his first and
    has an item of a target behaviour; int64 ``(n,)`` each.
    """
    random = np.random.default_rng(seed)
    user = np.repeat(np.arange(len(histories), dtype=np.int64), histories.lengths)
    can_be = np.arange(len(user)) > histories.offsets[user]
    if dataset.target_behaviours is not None and histories.behaviours is not None:
        can_be &= dataset.target_behaviours[histories.behaviours]
    places = random.permutation(np.flatnonzero(can_be))
    users, first = np.unique(user[places], return_index=True)
    some = np.sort(random.permutation(len(users))[:n])
    return users[some], places[first[some]]


def _others(lists: NDArray[np.int64], chosen: NDArray[np.int32]) -> NDArray[np.int64]:
    """Lists of items without what was chosen, or without their last where that is not in them.

    >>> _others(np.array([[4, 7, 2], [5, 6, 1]]), np.array([7, 3], dtype=np.int32)).tolist()
    [[4, 2], [5, 6]]
    """
    is_other = lists != chosen[:, None]
    is_other[is_other.all(1), -1] = False
    left: NDArray[np.int64] = lists[is_other].reshape(len(lists), -1)
    return left


def _options(run: Run) -> TrainingOptions:
    options = learning.options_of(run, "preference", run.settings.preference.training)
    return replace(options, every=run.settings.evaluation.every)
