"""A data set as a run folder keeps it: ``interactions.parquet``, ``items.parquet`` and
``attributes.parquet``.

It comes back exactly: ids, order, titles, texts, attributes, warnings, what is held out.
Identifiers and CF embeddings that came with the source are kept by their own steps; times are not
kept.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.data.dataset import Dataset
from letterrec.data.sequences import Histories
from letterrec.data.splits import Cut
from letterrec.errors import RunError
from letterrec.files import atomic_path, denied

_INTERACTIONS, _ITEMS, _ATTRIBUTES = "interactions.parquet", "items.parquet", "attributes.parquet"


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Write a data set into ``folder``.

    ``interactions.parquet``: ``user`` (text), ``items`` (list of int32 rows of the other table)
    and, where it is known of some, ``preference`` (text), a user per row; where there are
    behaviours, ``behaviours`` (list of int32), one for each of the items; unless the split is
    leave-one-out also ``valid_from`` and ``test_from`` (int64), the interactions of `Cut` that come
    before. ``items.parquet``: ``item``, ``title``, ``text`` (null where the data set has no texts)
    and, where it has any, ``categories`` (list of text), ``image`` (text) and ``domain`` (text), an
    item per row.
    ``attributes.parquet``, where there are any: a list of texts for each attribute, in the same
    rows.
    """
    columns = {
        "user": pl.Series(dataset.user_ids, dtype=pl.String),
        "items": list_column(dataset.interactions),
    }
    about = {"name": dataset.name, "warnings": json.dumps(dataset.warnings)}
    if (behaviours := behaviours_column(dataset.interactions)) is not None:
        columns["behaviours"] = behaviours
        kinds = {"names": dataset.behaviours, "targets": dataset.targets, "graded": dataset.graded}
        about["behaviours"] = json.dumps(kinds)
    if dataset.preferences is not None:
        columns["preference"] = pl.Series(dataset.preferences, dtype=pl.String)
    if dataset.cut is not None:
        columns["valid_from"] = pl.Series(dataset.cut.valid, dtype=pl.Int64)
        columns["test_from"] = pl.Series(dataset.cut.test, dtype=pl.Int64)
    items = {"item": dataset.item_ids, "title": dataset.titles, "text": dataset.texts}
    catalogue = pl.DataFrame(items, schema=dict.fromkeys(items, pl.String))
    if dataset.categories is not None:
        paths = pl.Series("categories", list(map(list, dataset.categories)), pl.List(pl.String))
        catalogue = catalogue.with_columns(paths)
    if dataset.domains is not None:
        domains = pl.Series("domain", dataset.domains, dtype=pl.String)
        catalogue = catalogue.with_columns(domains)
    if dataset.images is not None:
        catalogue = catalogue.with_columns(image=pl.Series(dataset.images, dtype=pl.String))
    with atomic_path(folder / _ITEMS) as path:
        catalogue.write_parquet(path)
    if dataset.attributes is None:
        (folder / _ATTRIBUTES).unlink(missing_ok=True)  # of a start on other data
    else:
        with atomic_path(folder / _ATTRIBUTES) as path:
            dataset.attributes.write_parquet(path)
    with atomic_path(folder / _INTERACTIONS) as path:
        pl.DataFrame(columns).write_parquet(path, metadata=about)


def list_column(sequences: Histories) -> pl.Series:
    """Sequences as a column of lists of int32, whatever their lengths are.

    >>> list_column(Histories.from_lists([[1, 2], [3, 4]])).dtype
    List(Int32)
    """
    lists = pl.List(pl.Int32)
    return pl.Series(list(sequences), dtype=lists).cast(lists)  # of one length, they are an Array


def behaviours_column(sequences: Histories) -> pl.Series | None:
    """The behaviours of sequences, as `list_column` has their items; None where there are none."""
    if sequences.behaviours is None:
        return None
    return list_column(Histories(sequences.offsets, sequences.behaviours.astype(np.int32)))


def read_dataset(folder: Path) -> Dataset:
    """Read what `write_dataset` wrote.

    Raises:
        RunError: a file is missing, damaged, or may not be read.
    """
    try:
        about = pl.read_parquet_metadata(folder / _INTERACTIONS)
        interactions = pl.read_parquet(folder / _INTERACTIONS, glob=False)
        items = pl.read_parquet(folder / _ITEMS, glob=False)
        sequences = interactions["items"].cast(pl.List(pl.Int32))  # arrays in older runs
        if sequences.null_count():
            raise ValueError("a user has no list of items")
        flat = sequences.explode().drop_nulls()
        lengths = sequences.list.len().to_numpy()
        texts = items["text"].to_list()
        kinds = json.loads(about.get("behaviours", "{}"))
        of_each = _behaviours(interactions, sequences, len(kinds["names"])) if kinds else None
        return Dataset(
            name=about["name"],
            user_ids=tuple(interactions["user"]),
            item_ids=tuple(items["item"]),
            interactions=Histories(
                np.append(0, np.cumsum(lengths, dtype=np.int64)), flat.to_numpy(), of_each
            ),
            titles=tuple(items["title"]),
            texts=None if None in texts else tuple(texts),
            preferences=tuple(interactions["preference"])
            if "preference" in interactions.columns
            else None,
            categories=tuple(map(tuple, items["categories"].to_list()))
            if "categories" in items.columns
            else None,
            attributes=_attributes(folder / _ATTRIBUTES, len(items)),
            images=tuple(items["image"]) if "image" in items.columns else None,
            warnings=tuple(json.loads(about["warnings"])),
            cut=_cut(interactions, lengths) if "test_from" in interactions.columns else None,
            behaviours=tuple(kinds.get("names", ())),
            targets=tuple(kinds.get("targets", ())),
            graded=kinds.get("graded", False),
            domains=tuple(items["domain"]) if "domain" in items.columns else None,
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


def _attributes(path: Path, n_items: int) -> pl.DataFrame | None:
    """What further columns said of the items; None where there were none, as in older runs."""
    if not path.exists():
        return None
    found = pl.read_parquet(path, glob=False)
    if len(found) != n_items:
        raise ValueError(f"{path.name} has {len(found)} rows for {n_items} items")
    return found


def _behaviours(
    interactions: pl.DataFrame, sequences: pl.Series, n_behaviours: int
) -> NDArray[np.int8]:
    """The behaviours of all interactions, as `write_dataset` wrote them."""
    lists = interactions["behaviours"].cast(pl.List(pl.Int8))
    of_each = lists.explode().drop_nulls().to_numpy()
    if not lists.list.len().equals(sequences.list.len()):
        raise ValueError("items and behaviours are of different lengths")
    if len(of_each) and not 0 <= of_each.min() <= of_each.max() < n_behaviours:
        raise ValueError("a behaviour has no name")
    return of_each


def _cut(interactions: pl.DataFrame, lengths: NDArray[np.int64]) -> Cut:
    """What is held out, as `write_dataset` wrote it."""
    valid, test = (interactions[c].to_numpy().astype(np.int64) for c in ("valid_from", "test_from"))
    if (valid < 0).any() or (valid > test).any() or (test > lengths).any():
        raise ValueError("what is held out does not fit the sequences")
    return Cut(valid, test)
