"""How a run's recommender is taught to follow wishes, once all else of it is trained.

For every item wishes are made up from its words and embedded. The reader of wishes learns to find
the items by them. How much memory counts beside a wish, from when on an item answers one, and from
when on a phrase rules one out is then chosen on validation cases and on the items' categories.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.data.dataset import Dataset
from letterrec.decoding.ranker import Ranker
from letterrec.embeddings.content import embed
from letterrec.embeddings.similarity import unit
from letterrec.progress import say
from letterrec.recommenders import Recommender
from letterrec.recommenders.wishes.parsing import Wish
from letterrec.recommenders.wishes.wording import Described, described, wishes_of
from letterrec.runs.run import Run
from letterrec.stages import learning, stages
from letterrec.stages.stages import Embeddings, MadeRecommender
from letterrec.training.devices import device

_MEMORY = (0.0, 0.25, 0.5, 2.0, 4.0)  # beside 1
_SHARPNESS = (0.25, 0.5, 0.75, 1.25)  # beside 1
_EXCLUDED_FROM = (0.5, 1.0, 2.0, 2.5, 3.0, 4.0, 5.0)  # beside 1.5, in nats
_CATEGORIES = 200  # by which that is chosen, at most
_FEWEST = 5  # items of such a category
_FAR = 0.05  # share of clear wishes made of items that are nearer to none than `near`
_JUDGED = 1000  # wishes by which that is chosen


def teach(
    run: Run,
    dataset: Dataset,
    content: Embeddings | None,
    recommender: Recommender,
    ranker: Ranker,
) -> None:
    """Train what reads wishes, where any are to be followed, or take what the run has of it.

    All that was learned before stays as it is. The arguments are those of `learned`.
    """
    if recommender.wishes is not None and content is not None:
        make = partial(learned, run, dataset, content, recommender, ranker)
        run.stage(stages.WISHES, dataset, make)
        learning.load_wishes(run, recommender)


class Pool(NamedTuple):
    """The wishes made up for items.

    Attributes:
        embeddings: float16 ``(n_items, n, d_content)``, each of length one; zeros where an item's
            words allow no wish.
        held: one more wish per item, which nothing is trained on; ``""`` where there is none.
        held_embeddings: float32 ``(n_items, d_content)`` of these.
    """

    embeddings: Tensor
    held: list[str]
    held_embeddings: NDArray[np.float32]


def made_up(run: Run, items: Sequence[Described]) -> Pool:
    """Wishes for every item, the same for the same seed, and their embeddings; items of which none
    allows a wish are refused before (`compatibility`).
    """
    random = np.random.default_rng(run.settings.seed)
    n = run.settings.wishes.per_item + 1
    each = [wishes_of(item, n, random) for item in items]
    words = sorted({wish for wishes in each for wish in wishes if wish})
    found = _embedded(run, words)  # (n_distinct, d_content)
    found = np.concatenate([found, np.zeros((1, found.shape[1]), dtype=np.float32)])
    row = {wish: i for i, wish in enumerate(words)} | {"": len(words)}
    rows = np.array([[row[wish] for wish in wishes] for wishes in each])  # (n_items, n)
    learned = torch.from_numpy(found.astype(np.float16)[rows[:, :-1]])
    return Pool(learned, [wishes[-1] for wishes in each], found[rows[:, -1]])


def learned(
    run: Run, dataset: Dataset, content: Embeddings, recommender: Recommender, ranker: Ranker
) -> MadeRecommender:
    """A reader of wishes, trained as long as validation says, its strengths chosen.

    Args:
        run: that is made.
        dataset: its validation cases are asked for by held wishes.
        content: float32 ``(n_items, d_content)``.
        recommender: trained; it reads wishes.
        ranker: ranks with it.
    """
    wishes = recommender.wishes
    assert wishes is not None
    items = _described(dataset)
    pool = made_up(run, items)
    cases = learning.validation_of(run, dataset)
    held = [pool.held[target] or None for target in cases.cases.targets]
    asked = {
        wish: pool.held_embeddings[target]
        for wish, target in zip(held, cases.cases.targets, strict=True)
        if wish is not None
    }
    if asked:
        wishes.encoder.remember(list(asked), np.stack(list(asked.values())))

    def score() -> dict[str, float]:
        return cases.metrics(ranker, held)

    log = recommender.fit_wishes(
        pool.embeddings,
        learning.learned_from(run, dataset),
        learning.options_of(run, "wishes", run.settings.wishes.training),
        validate=score if asked else None,
    )
    reader = wishes.reader
    if asked:
        criterion = run.settings.evaluation.criterion
        _choose(reader.memory, _MEMORY, lambda: score()[criterion])
        _choose(reader.sharpness, _SHARPNESS, lambda: score()[criterion])
    reader.near.fill_(_nearness(run, items, content))
    if named := _by_category(dataset):
        _choose(reader.excluded_from, _EXCLUDED_FROM, lambda: _agreement(recommender, named))
    say(
        f"  chosen on validation: memory {reader.memory:g}, sharpness {reader.sharpness:g}; near "
        f"from a cosine of {reader.near:.2f}, ruled out from {reader.excluded_from:g} nats"
    )
    return MadeRecommender(reader.state_dict(), log)


def relearned(
    run: Run, dataset: Dataset, recommender: Recommender, chosen: Mapping[str, Tensor], epochs: int
) -> MadeRecommender:
    """The same on all that a data set has, without validation.

    Args:
        run: that is made.
        dataset: nothing of it is held out.
        recommender: trained on it.
        chosen: the weights of the run that chose strengths.
        epochs: that it chose.
    """
    wishes = recommender.wishes
    assert wishes is not None
    options = learning.options_of(run, "wishes", run.settings.wishes.training)
    options = replace(options, stop=epochs)
    pool = made_up(run, _described(dataset))
    log = recommender.fit_wishes(pool.embeddings, learning.learned_from(run, dataset), options)
    weights = wishes.reader.state_dict()
    strengths = {name: chosen[name] for name in wishes.reader.strengths}
    return MadeRecommender({**weights, **strengths}, log)


def _choose(strength: Tensor, values: Sequence[float], score: Callable[[], float]) -> None:
    """Set a strength to the value that scores best; what it is counts as one."""
    best, highest = float(strength), score()
    for value in values:
        strength.fill_(value)
        reached = score()
        if reached > highest:
            best, highest = value, reached
    strength.fill_(best)


def _described(dataset: Dataset) -> list[Described]:
    assert dataset.texts is not None
    return described(dataset.titles, dataset.texts, dataset.categories)


def _nearness(run: Run, items: Sequence[Described], content: Embeddings) -> float:
    """The cosine that all but few clear wishes have with the item nearest to them."""
    random = np.random.default_rng(run.settings.seed)
    some = random.choice(len(items), min(_JUDGED, len(items)), replace=False)
    each = (wishes_of(items[i], 1, random, clear=True)[0] for i in some)
    asked = sorted({wish for wish in each if wish})
    if not asked:
        return -1.0
    cosines = _embedded(run, asked) @ unit(content).T
    return float(np.quantile(cosines.max(1), _FAR))


def _embedded(run: Run, texts: Sequence[str]) -> Embeddings:
    """float32 ``(n, d_content)``, each of length one."""
    return unit(embed(texts, **run.settings.content.encoding(), half=True))


def _by_category(dataset: Dataset) -> dict[str, NDArray[np.bool_]]:
    """Names of categories of a few items and more, and which items are in each."""
    rows = defaultdict(list)
    for row, path in enumerate(dataset.categories or ()):
        for name in path:
            rows[name].append(row)
    most = dataset.n_items // 2
    named: dict[str, NDArray[np.bool_]] = {}
    for name in sorted(rows, key=lambda name: -len(rows[name])):
        if len(named) == _CATEGORIES:
            break
        if _FEWEST <= len(rows[name]) <= most and Wish.parse(f"no {name}").excluded == (
            name.casefold(),
        ):
            named[name] = np.zeros(dataset.n_items, dtype=np.bool_)
            named[name][rows[name]] = True
    return named


def _agreement(recommender: Recommender, named: Mapping[str, NDArray[np.bool_]]) -> float:
    """How well what "no CATEGORY" rules out is the items of that category: the mean F1."""
    nothing = torch.full((len(named), 1), -1, device=device())
    effect = recommender.encode(nothing, [f"no {name}" for name in named]).wish_effect
    assert effect is not None
    assert effect.permitted is not None
    ruled_out = ~effect.permitted.cpu().numpy()  # (n, n_items)
    meant = np.stack(list(named.values()))
    both = (ruled_out & meant).sum(1)
    return float((2 * both / (ruled_out.sum(1) + meant.sum(1))).mean())
