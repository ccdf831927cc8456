"""What a sweep tries where it is told nothing: a space for every recommender, and the paper's."""

from __future__ import annotations

from collections.abc import Mapping

from letterrec.config.settings import Settings, is_baseline
from letterrec.studies.paper import FIGURE_8
from letterrec.studies.rows import is_known
from letterrec.studies.spaces import Choice, Domain, Range, Space

_TRAINED: Space = {
    "training.learning_rate": Range(5e-4, 1e-2, log=True),
    "training.weight_decay": Range(1e-3, 1.0, log=True),
}
_DIM: Space = {"recommender.dim": Choice((32, 64, 128))}
_DROPOUT: Space = {"recommender.dropout": Range(0.0, 0.7, step=0.1)}
_LAYERS: Space = {"recommender.layers": Range(1, 3, whole=True)}
_FACTORS: Space = {
    "training.learning_rate": Range(5e-4, 2e-2, log=True),
    **_DIM,
    "recommender.loss": Choice(("bpr", "softmax")),
    **_DROPOUT,
}
_TRANSITIONS: Space = {
    "transitions.ridge": Range(20.0, 500.0, log=True),
    "transitions.backwards": Range(0.0, 1.0, step=0.25),
}

SPACES: Mapping[str, Space] = {  # recommender -> what of its settings, and of its training, counts
    "rqt": {
        **_TRAINED,
        "recommender.dim": Choice((64, 128, 192)),
        **_LAYERS,
        "recommender.dropout": Range(0.1, 0.6, step=0.1),
        "recommender.item_share": Range(0.5, 0.95, step=0.05),
    },
    "tiger": {
        "training.learning_rate": Range(2e-4, 4e-3, log=True),
        "training.weight_decay": Range(1e-3, 0.3, log=True),
        "recommender.layers": Range(2, 4, whole=True),
        "recommender.dropout": Range(0.05, 0.3, step=0.05),
        "recommender.temperature": Range(0.6, 1.2, step=0.1),
    },
    "lcrec": {
        "training.learning_rate": Range(1e-4, 4e-3, log=True),
        "recommender.rank": Choice((4, 8, 16, 32)),
        "recommender.alpha": Choice((8, 16, 32)),
        "recommender.dropout": Range(0.0, 0.2, step=0.05),
        "recommender.temperature": Range(0.6, 1.2, step=0.1),
    },
    "mf": {**_FACTORS, "recommender.penalty": Range(1e-4, 0.5, log=True)},
    "lightgcn": {
        **_FACTORS,
        "recommender.layers": Range(1, 4, whole=True),
        "recommender.penalty": Range(1e-6, 1e-2, log=True),
    },
    "caser": {
        **_TRAINED,
        **_DIM,
        **_DROPOUT,
        "recommender.window": Choice((3, 5, 8)),
        "recommender.horizontal": Choice((8, 16, 32)),
        "recommender.vertical": Choice((2, 4, 8)),
    },
    "hgn": {**_TRAINED, **_DIM, **_DROPOUT, "recommender.window": Choice((3, 5, 8))},
    "bert4rec": {
        **_TRAINED,
        **_DIM,
        **_LAYERS,
        **_DROPOUT,
        "recommender.masked": Range(0.1, 0.6, step=0.1),
        "recommender.last": Range(0.0, 0.5, step=0.1),
    },
    "sasrec": {
        **_TRAINED,
        **_DIM,
        **_LAYERS,
        **_DROPOUT,
        "recommender.heads": Choice((1, 2, 4)),
    },
    "ease": {"recommender.ridge": Range(10.0, 5000.0, log=True)},
    "slist": {
        "recommender.ridge": Range(10.0, 5000.0, log=True),
        "recommender.decay": Range(0.5, 1.0, step=0.05),
        "recommender.ahead": Range(0.0, 1.0, step=0.1),
    },
    "popularity": {},  # it has nothing to tune
}


def default_space(settings: Settings) -> dict[str, Domain]:
    """What a recommender is tuned by; the identifiers stay, so that all trials share them.

    Args:
        settings: name the recommender, and say whether there are transitions to be tuned, too.
    """
    space = dict(SPACES[settings.recommender.name])
    has_transitions = settings.transitions.enabled and not is_baseline(settings)
    return {**space, **_TRANSITIONS} if has_transitions else space


def paper_space(settings: Settings) -> dict[str, Domain]:
    """The ranges of the paper's Fig. 8, of what the tokenizer and the recommender have of it."""
    return {key: Choice(values) for key, values in FIGURE_8.items() if is_known(key, settings)}
