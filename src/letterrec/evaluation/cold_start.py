"""Items that arrive after training, measured: hold some out, add them by text alone, rank all.

Knows which items are held out and what is asked about them. With ``data.cold_share`` above 0 that
share of the items, drawn at random, never reaches training: it is taken out of the catalogue and
out of every history, and what remains is a data set like any other (its own leave-one-out
included). A user whose latest interaction was with a held-out item becomes a cold case: history,
the items before it that remained; target, the held-out item.

`evaluate_cold` gives the held-out items content embeddings and identifiers from their text, as
`serving.editing` does, and ranks the whole catalogue, old and new, for cold and for ordinary test
cases. Seen items are left out for every method, since content-kNN would otherwise find the history
itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.data import Dataset, HeldOut, Histories
from letterrec.data.saved import list_column
from letterrec.embeddings.content import embed
from letterrec.errors import DataError, RunError
from letterrec.evaluation.metrics import ranks_of, summarise
from letterrec.files import atomic_path, reading
from letterrec.progress import counting
from letterrec.serving.catalogue.log import Changes
from letterrec.serving.engine import Engine
from letterrec.serving.queries import Prepared
from letterrec.tokenizers.new_items import Newcomers

_CUT = 10
_ROWS = 512  # cases that are ranked at a time


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
        cases = {"history": list_column(self.histories), "target": self.targets}
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
        with reading(folder):
            items = pl.read_parquet(folder / "items.parquet", glob=False)
            cases = pl.read_parquet(folder / "cases.parquet", glob=False)
            return cls(
                tuple(items["item"]),
                tuple(items["title"]),
                tuple(items["text"]),
                Histories.from_lists(cases["history"].to_list()),
                cases["target"].to_numpy().astype(np.int64),
            )


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

    sequences: list[NDArray[np.int64]] = []
    users: list[int] = []
    cases: list[NDArray[np.int64]] = []
    targets: list[int] = []
    for user, items in enumerate(dataset.interactions):
        remaining = position[items[~is_cold[items]]]
        if len(remaining):
            sequences.append(remaining)
            users.append(user)
        if len(items) > 1 and is_cold[items[-1]] and len(remaining):
            cases.append(remaining)
            targets.append(int(place[items[-1]]))
    rows = np.array(users, dtype=np.int64)
    rest = replace(
        dataset,
        user_ids=_take(dataset.user_ids, rows),
        item_ids=_take(dataset.item_ids, kept),
        titles=_take(dataset.titles, kept),
        texts=_take(dataset.texts, kept),
        interactions=Histories.from_lists([s.tolist() for s in sequences]),
        preferences=None if dataset.preferences is None else _take(dataset.preferences, rows),
        given_tokens=None if dataset.given_tokens is None else _take(dataset.given_tokens, kept),
        given_cf=None if dataset.given_cf is None else dataset.given_cf[kept],
    )
    held_out = ColdItems(
        _take(dataset.item_ids, cold),
        _take(dataset.titles, cold),
        _take(dataset.texts, cold),
        Histories.from_lists([c.tolist() for c in cases]),
        np.array(targets, dtype=np.int64),
    )
    return rest, held_out


def evaluate_cold(engine: Engine, beam: int | None = None) -> dict[str, Any]:
    """Metrics on held-out items that were added by text, and on the others.

    Args:
        engine: of a run fitted with ``data.cold_share``, without edits; it takes the items.
        beam: prefixes kept per level; None takes the run's.

    Returns:
        ``items``, ``cold_items``, ``beam``; ``cold`` and ``warm``, each with ``cases`` and the
        metrics of ``letterrec``, ``content_knn`` and ``popularity`` on the grown catalogue, and
        ``chance`` (Recall@10 of a random list); and ``warm_before``, the metrics of ``letterrec``
        on the warm cases before the new items were there.

    Raises:
        RunError: nothing was held out, or the run has no tokenizer of its own.
    """
    cold = ColdItems.load(engine.folder / "cold")
    content = engine.content
    if content is None or not (engine.folder / "tokenizer").is_dir():
        raise RunError(
            f"{engine.folder} has no tokenizer that makes identifiers from texts; "
            "fit with identifiers.source=learned on items with texts"
        )
    width = beam or engine.settings.evaluation.beam
    warm_cases = engine.dataset.held_out("test")
    before = _ranks(engine, warm_cases.histories, warm_cases.targets, width, "warm, before")

    settings = engine.settings.content.model_dump(exclude={"source"})
    new = embed(cold.texts, **settings)
    taken = engine.identifiers.codes
    codes = Newcomers(engine.folder, content).assign(new, taken)
    engine.take(Changes(cold.item_ids, cold.titles, cold.texts, codes, new, {}, 1))
    everything = np.concatenate([content, new])
    n_trained = engine.dataset.n_items
    cold_cases = HeldOut(
        np.arange(len(cold.targets)), cold.histories, (cold.targets + n_trained).astype(np.int32)
    )
    result: dict[str, Any] = {
        "items": len(everything),
        "cold_items": len(cold.item_ids),
        "beam": width,
        "warm_before": summarise(before),
    }
    for name, cases in (("cold", cold_cases), ("warm", warm_cases)):
        methods = {
            "letterrec": _ranks(engine, cases.histories, cases.targets, width, name),
            "content_knn": _neighbour_ranks(everything, cases, engine.recommender.max_history),
            "popularity": _popularity_ranks(engine, cases),
        }
        result[name] = {
            "cases": len(cases),
            **{method: summarise(ranks) for method, ranks in methods.items()},
            "chance": _CUT / len(everything),
        }
    return result


def _ranks(
    engine: Engine, histories: Histories, targets: NDArray[np.int32], beam: int, label: str
) -> NDArray[np.int64]:
    lists = np.full((len(histories), _CUT), -1, dtype=np.int64)
    with counting(f"ranking ({label})", len(histories)) as counter:
        for start in range(0, len(histories), _ROWS):
            stop = min(start + _ROWS, len(histories))
            queries = [
                Prepared(histories[i].tolist(), _CUT, max(beam, _CUT), True, None)
                for i in range(start, stop)
            ]
            for i, answer in enumerate(engine.answer(queries), start=start):
                lists[i, : len(answer)] = [row for row, _ in answer]
            counter.advance(stop - start)
    return ranks_of(lists, targets)


def _neighbour_ranks(
    content: NDArray[np.float32], cases: HeldOut, max_history: int
) -> NDArray[np.int64]:
    """Content-kNN: an item's score is its mean cosine with the latest items of the history."""
    norms = np.linalg.norm(content, axis=1, keepdims=True)
    unit = content / np.where(norms > 0, norms, 1)  # (n_items, d)
    lists = np.full((len(cases), _CUT), -1, dtype=np.int64)
    recent = cases.histories.latest(max_history)
    for start in range(0, len(cases), _ROWS):
        stop = min(start + _ROWS, len(cases))
        profiles = np.stack([unit[recent[i]].sum(0) for i in range(start, stop)])
        scores = profiles @ unit.T  # (rows, n_items)
        for i, line in enumerate(scores, start=start):
            line[cases.histories[i]] = -np.inf
        best = np.argpartition(-scores, _CUT - 1, axis=1)[:, :_CUT]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        lists[start:stop] = np.take_along_axis(best, order, 1)
    return ranks_of(lists, cases.targets)


def _popularity_ranks(engine: Engine, cases: HeldOut) -> NDArray[np.int64]:
    """Popularity, without what each has seen; a new item has none and comes last."""
    order = np.argsort(-engine.catalogue.popularity, kind="stable")
    longest = int(cases.histories.lengths.max(initial=0))
    top = order[: _CUT + longest]
    lists = np.full((len(cases), _CUT), -1, dtype=np.int64)
    for i, history in enumerate(cases.histories):
        unseen = top[~np.isin(top, history)][:_CUT]
        lists[i, : len(unseen)] = unseen
    return ranks_of(lists, cases.targets)


def _take(values: Sequence[Any], rows: NDArray[np.int64]) -> tuple[Any, ...]:
    return tuple(values[i] for i in rows)
