"""Lists for all users on a local Ray cluster: two workers of one thread against one.

Both score the same users of a run, in turns. What counts is the time in which all workers score:
start-up (processes, imports, the run) is left out. On a busy machine the ratio by processor time
says more: twice what a worker does per second of its processor, alone and beside another.

    OMP_NUM_THREADS=1 python benchmarks/cluster.py RUN --users 20000 --repeats 3
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from letterrec import api
from letterrec.cluster.connection import connected
from letterrec.cluster.workers import RayWorkers
from letterrec.processes import jobs
from letterrec.runs.origin import processor
from letterrec.serving.bulk import Users, scoring
from letterrec.serving.queries import Query

PART = 256  # users


class Timed(NamedTuple):
    """When a worker did a part, on the clock of the machine, and its processor's seconds."""

    worker: int
    began: float
    ended: float
    cpu: float


Took = tuple[int, float, float, float]  # as `Timed`, which other processes do not know


def timed(start: Callable[[], Callable[[Users], None]]) -> Callable[[Users], Took]:
    """Do parts, and tell when."""
    torch.set_num_threads(1)
    work = start()

    def do(part: Users) -> Took:
        began, cpu = time.time(), time.process_time()
        work(part)
        return os.getpid(), began, time.time(), time.process_time() - cpu

    return do


def rates(run: Path, folder: Path, count: int, users: int) -> tuple[float, float]:
    """Users per second while all of so many workers score, and per second of a processor."""
    engine = api.load(run)
    n = engine.dataset.n_users
    starts = list(range(0, n, PART)) * (-(-users // n))
    parts = [
        Users(start, min(start + PART, n), folder / f"{number}.parquet")
        for number, start in enumerate(starts[: -(-users // PART)])
    ]
    start = partial(scoring, partial(api.load, run), engine.catalogue.lineage, Query((), k=10))
    done: dict[int, list[tuple[Timed, int]]] = {}
    with jobs.done_by(RayWorkers(count, folder)):
        for part, took in jobs.do(partial(timed, start), parts):
            done.setdefault(took[0], []).append((Timed(*took), part.stop - part.start))
    assert len(done) == count, "a worker had nothing to do: give more --users"
    warm = [sorted(parts)[1:] for parts in done.values()]  # the first part loads what is lazy
    began = max(parts[0][0].began for parts in warm)
    ended = min(parts[-1][0].ended for parts in warm)
    both = [p for parts in warm for p in parts if began <= p[0].began and p[0].ended <= ended]
    cpu = sum(took.cpu for parts in warm for took, _ in parts)
    scored = sum(size for parts in warm for _, size in parts)
    return sum(size for _, size in both) / (ended - began), scored / cpu


def main() -> None:
    """Take turns, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--users", type=int, default=20_000, help="scored in each turn")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    turns = []
    with (
        tempfile.TemporaryDirectory() as folder,
        connected("local", Path(folder)),
    ):
        for _ in range(given.repeats):
            one, two = (
                rates(given.run.absolute(), Path(folder), count, given.users) for count in (1, 2)
            )
            turns.append((one, two))
    print(
        json.dumps(
            {
                "users_per_second": {
                    "1": statistics.median(one[0] for one, _ in turns),
                    "2": statistics.median(two[0] for _, two in turns),
                },
                "ratio": statistics.median(two[0] / one[0] for one, two in turns),
                "ratio_by_processor_time": statistics.median(
                    2 * two[1] / one[1] for one, two in turns
                ),
                "turns": turns,
                "machine": processor(),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
