"""Strengths of transitions that differ by domain: buyers of one shop come back to an item, those of
another do not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

Strength = Mapping[str, float]  # "seen", "like", "decay" and "weight"; see `Transitions`


@dataclass(frozen=True, eq=False)
class ByDomain:
    """The strengths of each domain; those of its latest item's domain are a history's.

    Attributes:
        strengths: name of a domain -> its strengths.
        of_items: int16 ``(n_items,)`` the domain of each item, by its place in ``strengths``; -1
            for one of another domain.
    """

    strengths: Mapping[str, Strength]
    of_items: NDArray[np.int16]

    def values(self, name: str, items: NDArray[np.integer], other: float) -> NDArray[np.float64]:
        """One strength, for items of any shape.

        Args:
            name: of the strength.
            items: rows; those below 0 or beyond the items known here are of no domain.
            other: what items of no domain have.
        """
        given = np.array([strength[name] for strength in self.strengths.values()] + [other])
        is_known = (items >= 0) & (items < len(self.of_items))
        values: NDArray[np.float64] = given[
            np.where(is_known, self.of_items[np.where(is_known, items, 0)], -1)
        ]
        return values

    def at_rows(self, rows: NDArray[np.integer], n_rows: int) -> Self:
        """The same where item ``i`` has row ``rows[i]`` of ``n_rows``; others are of no domain."""
        of_items = np.full(n_rows, -1, dtype=np.int16)
        of_items[rows[: len(self.of_items)]] = self.of_items[: len(rows)]
        return replace(self, of_items=of_items)

    def told(self) -> str:
        """The strengths as JSON, for the metadata of a file."""
        return json.dumps({name: dict(strength) for name, strength in self.strengths.items()})

    @classmethod
    def read(cls, told: str, of_items: NDArray[np.integer], names: tuple[str, ...]) -> Self:
        """From what `told` gave.

        Args:
            told: see there.
            of_items: int ``(n_items,)``, see the class.
            names: of the strengths that each domain has.

        Raises:
            ValueError: a domain lacks a strength, or an item's domain is none of these.
        """
        strengths = {
            str(domain): {name: float(strength[name]) for name in names}
            for domain, strength in json.loads(told).items()
        }
        if of_items.min(initial=0) < -1 or of_items.max(initial=-1) >= len(strengths):
            raise ValueError(f"items are of other domains than the {len(strengths)} there are")
        return cls(strengths, of_items.astype(np.int16))
