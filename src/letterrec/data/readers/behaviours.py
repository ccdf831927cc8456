"""The behaviours of a log: from the texts of a column to rows of `Dataset.behaviours`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.data.ids import as_id
from letterrec.errors import DataError

_MOST = 50  # behaviours that a log may tell apart


class Behaviours(NamedTuple):
    """The behaviours of a log.

    Attributes:
        names: what they are called.
        rows: int8 ``(n,)``: that of each row of the log, -1 for none; None where the log has none.
    """

    names: tuple[str, ...] = ()
    rows: NDArray[np.int8] | None = None


def behaviours_of(
    events: pl.DataFrame, grades: tuple[str, ...], where: object, notes: list[str], *, must: bool
) -> Behaviours:
    """The behaviours in the column ``behaviour`` of a log, in the order of their names.

    Args:
        events: of `interactions.Events`.
        grades: what they are instead, in this order.
        where: the file, for errors.
        notes: gets a line where the column holds something else.
        must: refuse a column that holds something else.

    Raises:
        DataError: there are none, or too many to be behaviours.
    """
    if "behaviour" not in events.columns:
        return Behaviours()
    texts = events["behaviour"].cast(pl.String)
    called = {text: as_id(text) for text in texts.unique().to_list()}
    names = grades or tuple(sorted({name for name in called.values() if name is not None}))
    if not names or len(names) > _MOST:
        said = f"the column of behaviours has {len(names)} different names"
        if must:
            raise DataError(f"{where}: {said}; expected 1 to {_MOST}, such as view, cart and buy")
        notes.append(f"{said}: it is not read")
        return Behaviours()
    row_of = {text: -1 if name is None else names.index(name) for text, name in called.items()}
    rows = texts.replace_strict(row_of, return_dtype=pl.Int8, default=-1).fill_null(-1)
    return Behaviours(names, rows.to_numpy())
