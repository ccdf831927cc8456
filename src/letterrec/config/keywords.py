"""Settings as the keyword arguments of what they are settings of."""

from __future__ import annotations

from typing import Literal, TypedDict

Order = Literal["time", "rows"]
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


class Encoding(TypedDict, total=False):
    """How texts are encoded, as `embeddings.content.embed` takes it."""

    encoder: str
    batch_size: int
    max_tokens: int
