"""Baselines: models that score all items, beside the generative recommenders.

`base` is the seam; `BASELINES` lists those that there are.
"""

from __future__ import annotations

from letterrec.baselines.base import Baseline
from letterrec.baselines.bert4rec import Bert4Rec
from letterrec.baselines.caser import Caser
from letterrec.baselines.closed_form import Ease, Slist
from letterrec.baselines.hgn import Hgn
from letterrec.baselines.lightgcn import LightGcn
from letterrec.baselines.mf import MatrixFactorization
from letterrec.baselines.popularity import Popularity
from letterrec.baselines.sasrec import SasRecBaseline

__all__ = ["BASELINES", "Baseline"]

BASELINES: dict[str, type[Baseline]] = {
    "mf": MatrixFactorization,
    "caser": Caser,
    "hgn": Hgn,
    "bert4rec": Bert4Rec,
    "lightgcn": LightGcn,
    "sasrec": SasRecBaseline,
    "ease": Ease,
    "slist": Slist,
    "popularity": Popularity,
}
