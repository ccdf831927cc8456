"""A data set as a run folder keeps it: ``interactions.parquet`` and ``items.parquet``.

Knows how to write it and read it back exactly: ids, order, titles, texts, warnings. Identifiers
and CF embeddings that came with the source are kept by their own steps.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from letterrec.data.dataset import Dataset, Histories
from letterrec.errors import RunError
from letterrec.store import atomic_path, denied

_INTERACTIONS, _ITEMS = "interactions.parquet", "items.parquet"


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Write a data set into ``folder``.

    ``interactions.parquet``: ``user`` (text), ``items`` (list of int32 rows of the other table)
    and, where it is known of some, ``preference`` (text), a user per row. ``items.parquet``:
    ``item``, ``title``, ``text`` (null where the data set has no texts), an item per row.
    """
    sequences = pl.Series(list(dataset.interactions), dtype=pl.List(pl.Int32))
    interactions = pl.DataFrame({"user": dataset.user_ids, "items": sequences})
    if dataset.preferences is not None:
        interactions = interactions.with_columns(preference=pl.Series(dataset.preferences))
    items = {"item": dataset.item_ids, "title": dataset.titles, "text": dataset.texts}
    about = {"name": dataset.name, "warnings": json.dumps(dataset.warnings)}
    with atomic_path(folder / _ITEMS) as path:
        pl.DataFrame(items, schema=dict.fromkeys(items, pl.String)).write_parquet(path)
    with atomic_path(folder / _INTERACTIONS) as path:
        interactions.write_parquet(path, metadata=about)


def read_dataset(folder: Path) -> Dataset:
    """Read what `write_dataset` wrote.

    Raises:
        RunError: a file is missing, damaged, or may not be read.
    """
    try:
        about = pl.read_parquet_metadata(folder / _INTERACTIONS)
        interactions = pl.read_parquet(folder / _INTERACTIONS)
        items = pl.read_parquet(folder / _ITEMS)
        flat = interactions["items"].explode().drop_nulls()
        lengths = interactions["items"].list.len().to_numpy()
        texts = items["text"].to_list()
        return Dataset(
            name=about["name"],
            user_ids=tuple(interactions["user"]),
            item_ids=tuple(items["item"]),
            interactions=Histories(
                np.append(0, np.cumsum(lengths, dtype=np.int64)), flat.to_numpy()
            ),
            titles=tuple(items["title"]),
            texts=None if None in texts else tuple(texts),
            preferences=tuple(interactions["preference"])
            if "preference" in interactions.columns
            else None,
            warnings=tuple(json.loads(about["warnings"])),
        )
    except FileNotFoundError:
        raise RunError(
            f"{folder} lacks {_INTERACTIONS} or {_ITEMS}; the run is unfinished: "
            "fit it with --resume"
        ) from None
    except (pl.exceptions.PolarsError, KeyError, ValueError, OSError) as error:
        if (refused := denied(folder / _INTERACTIONS, folder / _ITEMS)) is not None:
            raise refused from None
        reason = str(error).strip().splitlines()[0]
        raise RunError(f"the data in {folder} are damaged ({reason}); fit the run again") from None
