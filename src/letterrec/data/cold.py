"""Items held out of training, to measure how items do that arrive after it (cold start).

With ``data.cold_share`` above 0 that share of the items, drawn at random, is taken out of the
catalogue and out of every history; what remains is a data set like any other, its own leave-one-out
included. A user whose latest interaction was with a held-out item becomes a cold case: history, the
items before it that remained; target, the held-out item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec import files
from letterrec.data.dataset import Dataset
from letterrec.data.saved import behaviours_column, list_column
from letterrec.data.sequences import Histories
from letterrec.errors import DataError, RunError
from letterrec.files import atomic_path

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ColdItems:
    """Items held out of a data set, and the cases that ask for them.

    Attributes:
        item_ids: external ids.
        titles: one per item.
        texts: one per item, what the content encoder reads.
        histories: rows of the remaining data set, oldest first, one sequence per case.
        targets: int64 ``(n_cases,)`` position of the target among the held-out items.
    """

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    texts: tuple[str, ...]
    histories: Histories
    targets: NDArray[np.int64]

    def save(self, folder: Path) -> None:
        """Write ``items.parquet`` and ``cases.parquet``."""
        items = {"item": self.item_ids, "title": self.titles, "text": self.texts}
        with atomic_path(folder / "items.parquet") as path:
            pl.DataFrame(items, schema=dict.fromkeys(items, pl.String)).write_parquet(path)
        cases = {"history": list_column(self.histories), "target": pl.Series(self.targets)}
        if (behaviours := behaviours_column(self.histories)) is not None:
            cases["behaviours"] = behaviours
        with atomic_path(folder / "cases.parquet") as path:
            pl.DataFrame(cases).write_parquet(path)

    @classmethod
    def load(cls, folder: Path) -> ColdItems:
        """Read what `save` wrote.

        Raises:
            RunError: nothing was held out, or the files are damaged.
        """
        if not folder.is_dir():
            raise RunError(
                f"{folder.parent} has seen all its items in training; hold some out with: "
                "letterrec fit SOURCE --out RUN --set data.cold_share=0.05"
            )
        with files.refuse_damaged(folder):
            items = pl.read_parquet(folder / "items.parquet", glob=False)
            cases = pl.read_parquet(folder / "cases.parquet", glob=False)
            return cls(
                tuple(items["item"]),
                tuple(items["title"]),
                tuple(items["text"]),
                _histories(cases),
                cases["target"].to_numpy().astype(np.int64),
            )


def _histories(cases: pl.DataFrame) -> Histories:
    histories = Histories.from_lists(cases["history"].to_list())
    if "behaviours" not in cases.columns:
        return histories
    of_each = Histories.from_lists(cases["behaviours"].to_list())
    return replace(histories, behaviours=of_each.items.astype(np.int8))


def hold_out(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, ColdItems]:
    """Take a random share of the items out of a data set.

    Args:
        dataset: with item texts.
        share: of the items, between 0 and 1; at least one item is held out.
        seed: decides which.

    Returns:
        The data set that remains, without users who have nothing left, and the held-out items.

    Raises:
        DataError: the items have no text, so that they could not be added again.
    """
    if dataset.texts is None:
        raise DataError(
            f"data.cold_share = {share:g}, but the items of {dataset.name} have no text, from "
            "which alone held-out items can be added; use a source with item texts"
        )
    n_cold = max(1, round(share * dataset.n_items))
    chosen = np.random.default_rng(seed).choice(dataset.n_items, n_cold, replace=False)
    cold = np.sort(chosen)
    is_cold = np.zeros(dataset.n_items, dtype=bool)
    is_cold[cold] = True
    position = np.cumsum(~is_cold) - 1  # row -> row among those that remain
    place = np.cumsum(is_cold) - 1  # row -> position among the held-out
    kept = np.flatnonzero(~is_cold)

    of_user = dataset.interactions
    remains = ~is_cold[of_user.items]
    n_remaining = np.append(0, np.cumsum(remains, dtype=np.int64))
    rest_of_all = Histories(
        n_remaining[of_user.offsets],
        position[of_user.items[remains]].astype(np.int32),
        None if of_user.behaviours is None else of_user.behaviours[remains],
    )
    rows = np.flatnonzero(rest_of_all.lengths)
    latest = _latest_targets(dataset)  # -1 for none
    asked = np.flatnonzero((latest >= 0) & (of_user.lengths > 1))
    asked = asked[is_cold[of_user.items[latest[asked]]]]
    asked = asked[n_remaining[latest[asked]] > rest_of_all.offsets[asked]]
    histories = rest_of_all.slice(rest_of_all.offsets[asked], n_remaining[latest[asked]])
    rest = replace(
        dataset,
        user_ids=_take(dataset.user_ids, rows),
        item_ids=_take(dataset.item_ids, kept),
        titles=_take(dataset.titles, kept),
        texts=_take(dataset.texts, kept),
        images=None if dataset.images is None else _take(dataset.images, kept),
        categories=None if dataset.categories is None else _take(dataset.categories, kept),
        attributes=None if dataset.attributes is None else dataset.attributes[kept],
        domains=None if dataset.domains is None else _take(dataset.domains, kept),
        interactions=rest_of_all.take(rows),
        preferences=None if dataset.preferences is None else _take(dataset.preferences, rows),
        given_tokens=None if dataset.given_tokens is None else _take(dataset.given_tokens, kept),
        given_cf=None if dataset.given_cf is None else dataset.given_cf[kept],
        times=None
        if dataset.times is None
        else dataset.times[~is_cold[dataset.interactions.items]],
    )
    held_out = ColdItems(
        _take(dataset.item_ids, cold),
        _take(dataset.titles, cold),
        _take(dataset.texts, cold),
        histories,
        place[of_user.items[latest[asked]]],
    )
    return rest, held_out


def _latest_targets(dataset: Dataset) -> NDArray[np.int64]:
    """int64 ``(n_users,)``: where the latest interaction of each user stands that can be asked for,
    -1 for none.
    """
    sequences, is_target = dataset.interactions, dataset.is_target
    latest: NDArray[np.int64] = np.where(sequences.lengths > 0, sequences.offsets[1:] - 1, -1)
    if is_target is None:
        return latest
    user = np.repeat(np.arange(len(sequences)), sequences.lengths)
    found = np.full(len(sequences), -1, dtype=np.int64)
    places = np.flatnonzero(is_target)
    found[user[places]] = places  # of equal users the last one counts
    return found


def _take(values: Sequence[T], rows: NDArray[np.int64]) -> tuple[T, ...]:
    return tuple(values[i] for i in rows)
