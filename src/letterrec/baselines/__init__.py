"""Baselines: models that score all items, beside the generative recommenders.

`base` is the seam; `BASELINES` lists those that there are.
"""

from __future__ import annotations

from letterrec.baselines.base import Baseline
from letterrec.baselines.popularity import Popularity
from letterrec.baselines.sasrec import SasRecBaseline

__all__ = ["BASELINES", "Baseline"]

BASELINES: dict[str, type[Baseline]] = {
    "sasrec": SasRecBaseline,
    "popularity": Popularity,
}
