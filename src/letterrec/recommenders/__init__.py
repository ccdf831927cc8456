"""Recommenders: histories -> the codes of the next item.

`base` is the seam; `RECOMMENDERS` lists those that there are.
"""

from __future__ import annotations

from letterrec.recommenders.base import Features, Recommender
from letterrec.recommenders.lcrec.model import LcRec
from letterrec.recommenders.rqt.model import Rqt
from letterrec.recommenders.tiger.model import Tiger

__all__ = ["RECOMMENDERS", "Features", "Recommender"]

RECOMMENDERS: dict[str, type[Recommender]] = {
    "rqt": Rqt,
    "tiger": Tiger,
    "lcrec": LcRec,
}
