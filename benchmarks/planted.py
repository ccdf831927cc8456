"""Data with a planted answer, and whole fits of them: `scale.py --fit`.

Items stand in rings of 50. Nine times in ten a user goes on to one of the ten items ahead of the
latest one, the nearer the likelier, and else to any item of a ring that is drawn by popularity. So
the best list for a history is known: the ten items ahead; and so are the neighbours of an item:
those of its ring.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
from numpy.typing import NDArray

from letterrec import pipeline
from letterrec.config.loading import load_settings
from letterrec.data import Dataset, read
from letterrec.embeddings.similarity import unit
from letterrec.evaluation.cases import measured_cases
from letterrec.evaluation.metrics import ranks_of, summarise
from letterrec.runs.run import Run

RING, AHEAD = 50, 10  # items of a ring; of those ahead that may follow
STAYS, NEARER = 0.9, 0.8  # how often the ring is kept; weight of an item relative to the one before
USERS, LENGTH = 1.1, 12  # users per item of the catalogue; mean interactions of a user
_LOOKED_AT = 2000  # items whose CF neighbours are compared with the planted ones
_NEIGHBOURS = 10
_EVERY = 0.2  # seconds between looks at the memory


def write_planted(n_items: int, path: Path) -> None:
    """Write a log as Parquet: user, item and timestamp, 5 interactions of a user at least."""
    draw = np.random.default_rng(0)
    n_users, n_rings = round(USERS * n_items), n_items // RING
    popularity = (1 + np.arange(n_rings)) ** -0.3
    popularity = popularity[draw.permutation(n_rings)].cumsum() / popularity.sum()
    chances = NEARER ** np.arange(AHEAD)
    chances = np.cumsum(chances / chances.sum())
    lengths = 5 + draw.poisson(LENGTH - 5, n_users)
    ring, place = _anywhere(draw, n_users, popularity)
    users, items, times = [], [], []
    for step in range(int(lengths.max())):
        going = np.flatnonzero(lengths > step)
        users.append(going)
        items.append(ring[going] * RING + place[going])
        times.append(np.full(len(going), step))
        ahead = 1 + np.searchsorted(chances, draw.random(n_users))
        place = (place + ahead.clip(max=AHEAD)) % RING
        leaves = draw.random(n_users) >= STAYS
        ring[leaves], place[leaves] = _anywhere(draw, int(leaves.sum()), popularity)
    columns = {"user": users, "item": items, "timestamp": times}
    pl.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()}).write_parquet(
        path
    )


def _anywhere(
    draw: np.random.Generator, n: int, popularity: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``n`` rings by popularity, and any place in each."""
    rings = np.searchsorted(popularity, draw.random(n)).clip(max=len(popularity) - 1)
    return rings, draw.integers(RING, size=n)


def planted_recall(dataset: Dataset) -> float:
    """Recall@10 on the measured test users of a list that knows the rule."""
    cases = measured_cases(dataset, "test")
    number = np.array(dataset.item_ids, dtype=np.int64)
    row = np.full(number.max() + RING, -1)
    row[number] = np.arange(len(number))
    latest = number[cases.histories.items[cases.histories.offsets[1:] - 1]]  # (n,)
    ahead = latest[:, None] % RING + np.arange(1, AHEAD + 1)
    lists = row[(latest // RING * RING)[:, None] + ahead % RING]  # (n, 10)
    return summarise(ranks_of(lists, cases.targets))["recall@10"]


def neighbours_found(cf: NDArray[np.float32], item_ids: tuple[str, ...]) -> float:
    """The share of the ten nearest items by CF that are of an item's own ring."""
    rings = np.array(item_ids, dtype=np.int64) // RING
    looked_at = np.random.default_rng(0).permutation(len(cf))[:_LOOKED_AT]
    directions, shares = unit(cf - cf.mean(0)), []
    for rows in np.array_split(looked_at, -(-len(looked_at) // 64)):
        cosines = directions[rows] @ directions.T
        cosines[np.arange(len(rows)), rows] = -np.inf
        nearest = np.argpartition(-cosines, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
        shares.append(rings[nearest] == rings[rows][:, None])
    return float(np.concatenate(shares).mean())


def fit_planted(n_items: int, folder: Path, changes: list[str]) -> dict[str, Any]:
    """A whole default fit of planted data, and what it cost; one that was stopped goes on.

    Args:
        n_items: planted; 5-core leaves nearly all.
        folder: of the log, the run and the memory that was seen.
        changes: settings, ``section.key=value`` each.

    Returns:
        Sizes; per stage ``seconds`` and ``peak_mb``; both in all; seconds per item and per
        interaction; Recall@10 on test, of the planted rule and of popularity; the share of planted
        CF neighbours that were found.
    """
    log = folder / "log" / "interactions.parquet"
    if not log.exists():
        log.parent.mkdir(parents=True)
        write_planted(n_items, log)
    settings = load_settings(None, changes)
    with watched(folder / "memory.tsv"):
        dataset = read(log.parent, **settings.data.reading())
        run = pipeline.fit(dataset, folder / "run", settings, resume=True)
    stages = stage_costs(run, folder / "memory.tsv")
    seconds = sum(cost["seconds"] for cost in stages.values())
    metrics = run.metrics()
    cf = run.embeddings("collaborative", dataset.n_items)
    assert cf is not None
    return {
        "users": dataset.n_users,
        "items": dataset.n_items,
        "interactions": dataset.n_interactions,
        "stages": stages,
        "seconds": seconds,
        "peak_mb": max(cost["peak_mb"] for cost in stages.values()),
        "ms_per_item": 1e3 * seconds / dataset.n_items,
        "us_per_interaction": 1e6 * seconds / dataset.n_interactions,
        "recall@10": metrics["test"]["metrics"]["recall@10"],
        "standard_error": metrics["test"]["standard_errors"]["recall@10"],
        "planted_recall@10": planted_recall(dataset),
        "popularity_recall@10": metrics["popularity"]["test"]["recall@10"],
        "neighbours_found": neighbours_found(cf, dataset.item_ids),
    }


@contextmanager
def watched(path: Path) -> Iterator[None]:
    """Append the time and this process's memory, a line each, as long as the block runs."""
    over, me = threading.Event(), psutil.Process()

    def watch() -> None:
        with path.open("a") as file:
            while not over.wait(_EVERY):
                file.write(f"{time.time():.1f}\t{me.memory_info().rss}\n")
                file.flush()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def stage_costs(run: Run, memory: Path) -> dict[str, dict[str, float]]:
    """Seconds and largest memory of each stage, in MB."""
    seen = np.loadtxt(memory, ndmin=2)
    costs = {}
    for name, stage in run.about["stages"].items():
        end = datetime.fromisoformat(stage["finished"]).timestamp() + 1
        during = (seen[:, 0] >= end - 1 - stage["seconds"]) & (seen[:, 0] <= end)
        peak = seen[during, 1].max(initial=0) / 2**20
        costs[name] = {"seconds": stage["seconds"], "peak_mb": float(peak)}
    return costs


def fit_table(fits: dict[int, dict[str, Any]]) -> str:
    """The results as people read them."""
    lines = []
    for planted, found in fits.items():
        lines.append(
            f"{planted:,} items planted: {found['users']:,} users, {found['items']:,} items, "
            f"{found['interactions']:,} interactions; {found['seconds']:,.0f} s, "
            f"{found['peak_mb']:,.0f} MB, {found['ms_per_item']:.2f} ms an item, "
            f"{found['us_per_interaction']:.0f} us an interaction"
        )
        lines += [
            f"  {name:15}{cost['seconds']:10,.1f} s{cost['peak_mb']:10,.0f} MB"
            for name, cost in found["stages"].items()
        ]
        lines.append(
            f"  Recall@10 {found['recall@10']:.4f} (standard error {found['standard_error']:.4f}); "
            f"the rule {found['planted_recall@10']:.4f}, popularity "
            f"{found['popularity_recall@10']:.4f}; CF neighbours of the own ring "
            f"{found['neighbours_found']:.1%}"
        )
    return "\n".join(lines)
