"""What final training adds: the run that `fit` makes of a log, and its refit, asked what came next.

Where the source has times, the log ends at each of several times, and the first interaction after
it is asked for (a user each). Where it has none, the log ends before everybody's last interaction.
Seen items are left out, as in service. Prints JSON: both metrics, their difference with its
standard error over the cases (a user may be one at several times), and what either cost.

```
python benchmarks/final_training.py ml-100k --recipe slist --ends 0.1,0.2,0.3,0.4
python benchmarks/final_training.py Instruments/ --recipe slist
```
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import letterrec
from letterrec.data import Dataset, HeldOut
from letterrec.data.temporal import split_in_time
from letterrec.evaluation.metrics import Measures, ranks_of, standard_error
from letterrec.evaluation.ranking import rank_cases
from letterrec.runs.run import Run

BEFORE = 0.05  # share of the interactions of a validation window that nothing is made of


def logs(full: Dataset, ends: list[float]) -> Iterator[tuple[Dataset, HeldOut]]:
    """Logs that end earlier, and what is asked for after them."""
    plain = replace(full, times=None, warnings=())
    if full.times is None:
        users = np.flatnonzero(full.interactions.lengths >= 4)
        sequences = full.interactions
        stops = sequences.offsets[1:] - (sequences.lengths > 0)
        past = sequences.slice(sequences.offsets[:-1], stops)  # without the latest of each
        last = full.interactions.items[full.interactions.offsets[users + 1] - 1]
        yield replace(plain, interactions=past), HeldOut(users, past.take(users), last)
        return
    for end in ends:
        cut = split_in_time(full, str(end), str(end + BEFORE))
        cases, first = cut.held_out("test"), full.interactions.offsets[:-1]
        there = np.flatnonzero(cut.bounds.test > 0)
        past = full.interactions.slice(first, first + cut.bounds.test).take(there)
        row = np.full(full.n_users, -1)
        row[there] = np.arange(len(there))
        ids = tuple(full.user_ids[user] for user in there)
        asked = HeldOut(row[cases.users], cases.histories, cases.targets)
        yield replace(plain, user_ids=ids, interactions=past), asked


def measured(run: Run, cases: HeldOut) -> dict[str, np.ndarray]:
    """Recall@10 and NDCG@10 of each case."""
    ranker = letterrec.load(run).ranker
    lists = rank_cases(ranker, cases, k=10, batch_size=256, exclude_seen=True)
    return Measures(cuts=(10,)).of_cases(ranks_of(lists, cases.targets))


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--recipe", default="rqt")
    parser.add_argument("--ends", default="0.2,0.4,0.6", help="shares of the log that come after")
    asked = parser.parse_args()
    full = letterrec.read(asked.source)
    seconds = {"fit": 0.0, "refit": 0.0}
    parts: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = []
    for log, cases in logs(full, [float(end) for end in asked.ends.split(",")]):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            run = letterrec.fit(log, Path(folder) / "run", recipe=asked.recipe)
            fitted = time.perf_counter()
            final = letterrec.refit(run)
            seconds["fit"] += fitted - started
            seconds["refit"] += time.perf_counter() - fitted
            parts.append((measured(run, cases), measured(final, cases)))
    result: dict[str, object] = {"data": full.name, "recipe": asked.recipe, "logs": len(parts)}
    for name in parts[0][0]:
        before, after = (np.concatenate([part[i][name] for part in parts]) for i in (0, 1))
        result[name] = {
            "cases": len(before),
            "fit": float(before.mean()),
            "refit": float(after.mean()),
            "difference": float((after - before).mean()),
            "standard_error": standard_error(after - before),
        }
    print(json.dumps(result | {"seconds": seconds}, indent=1))


if __name__ == "__main__":
    main()
