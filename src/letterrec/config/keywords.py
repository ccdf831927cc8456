"""Settings as the keyword arguments of what they are settings of."""

from __future__ import annotations

from typing import Literal, TypedDict

Order = Literal["time", "rows"]
Schedule = Literal["cosine", "constant"]  # of the learning rate, after its rise
Role = Literal[  # of a column
    "user", "item", "timestamp", "rating", "behaviour", "title", "preference"
]


class Reading(TypedDict):
    """How a source is read, as `letterrec.read` takes it."""

    k_core: int | None
    min_rating: float | None
    grades: dict[str, float]
    order: Order
    columns: dict[str, str]


class Training(TypedDict, total=False):
    """How a network is trained, as `training.options.TrainingOptions` takes it."""

    epochs: int
    batch_size: int
    most: int | None
    largest_batch: int | None
    learning_rate: float
    schedule: Schedule
    weight_decay: float
    warmup: float
    clip: float
    patience: int


class TransitionLearning(TypedDict):
    """How transitions are learned, as `linear.transition_fitting.learn_transitions` takes it."""

    window: int
    backwards: float
    ridge: float
    neighbours: int


class Encoding(TypedDict, total=False):
    """How texts are encoded, as `embeddings.content.embed` takes it."""

    encoder: str
    batch_size: int
    max_tokens: int
