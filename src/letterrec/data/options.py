"""What a caller may ask of every reader: one frozen object between `letterrec.read` and them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from letterrec.config import Order, Role
from letterrec.errors import DataError


@dataclass(frozen=True)
class ReadOptions:
    """How a source is read.

    Attributes:
        k_core: drop users and items with fewer interactions, repeatedly; 0 drops none, None takes
            the format's default.
        min_rating: drop interactions with a lower rating, or without one, before anything else;
            None keeps all.
        order: "time" sorts by the times; "rows" takes the order of the rows for the order in time.
        columns: role -> the column of the source that has it.

    Raises:
        DataError: a value makes no sense.
    """

    k_core: int | None = None
    min_rating: float | None = None
    order: Order = "time"
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.k_core is not None and self.k_core < 0:
            raise DataError(f"k_core is {self.k_core}; expected 0 (no filtering) or more")
        if self.min_rating is not None and not math.isfinite(self.min_rating):
            raise DataError(f"min_rating is {self.min_rating}; expected a finite number")
        if self.order not in get_args(Order):
            raise DataError(f"order is {self.order!r}; expected 'time' or 'rows'")
        for role in self.columns:
            if role not in get_args(Role):
                known = ", ".join(get_args(Role))
                raise DataError(f"columns names {role!r}; expected some of {known}")

    def refuse_title(self, where: object) -> None:
        """For formats whose titles are always in the same place.

        Raises:
            DataError: a column of titles was named.
        """
        if "title" in self.columns:
            raise DataError(
                f"{where} takes its titles from its metadata; leave out --columns "
                f"title={self.columns['title']}"
            )

    def log_roles(self) -> list[Role]:
        """What the columns of an interaction log must give."""
        roles: list[Role] = ["user", "item"]
        if self.order == "time":
            roles.append("timestamp")
        if self.min_rating is not None:
            roles.append("rating")
        return roles
