"""Liked items from graded ratings, against ratings without grades and against likes alone.

All three are asked for the same liked items of the same users of MovieLens-100k, at the same places
of their histories. Prints JSON: the metrics of each fit, then the paired differences of the first
from the others over the seeds that all have.

    python benchmarks/grades.py --out runs/grades --recipe quickstart --seeds 3
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import letterrec
from letterrec.data import Dataset, Histories
from letterrec.data.behaviours import with_targets
from letterrec.data.splits import Cut
from letterrec.evaluation.protocol import evaluate_split
from letterrec.evaluation.significance import paired_bootstrap

Values = NDArray[np.float64]
_K = 10


def data_sets() -> dict[str, Dataset]:
    """The same cases three times: with grades, without, and with a history of likes alone."""
    read = letterrec.read("ml-100k", grades={"disliked": 1, "liked": 4})
    graded = with_targets(read, ["liked"])
    whole, cut = graded.interactions, graded.bounds
    is_liked = graded.is_target
    assert is_liked is not None
    before = np.append(0, np.cumsum(is_liked))
    first = whole.offsets[:-1]
    likes = whole.only(graded.target_behaviours)
    plain = replace(graded, behaviours=(), targets=(), graded=False)
    cut_of_likes = Cut(*(before[first + stop] - before[first] for stop in (cut.valid, cut.test)))
    return {
        "graded": graded,
        "plain": replace(plain, interactions=Histories(whole.offsets, whole.items), cut=cut),
        "alone": replace(
            plain, interactions=Histories(likes.offsets, likes.items), cut=cut_of_likes
        ),
    }


def recall(ranks: NDArray[np.int64]) -> Values:
    """Of each case, 1 where the target is among the first ten."""
    return ((ranks >= 0) & (ranks < _K)).astype(np.float64)


def ndcg(ranks: NDArray[np.int64]) -> Values:
    """Of each case, the gain of the target's rank."""
    gains: Values = recall(ranks) / np.log2(np.maximum(ranks, 0) + 2)
    return gains


METRICS: dict[str, Callable[[NDArray[np.int64]], Values]] = {"recall@10": recall, "ndcg@10": ndcg}


def main() -> None:
    """Fit, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    ranks: dict[tuple[str, str], list[NDArray[np.int64]]] = {}
    for seed in range(options.seeds):
        for name, dataset in data_sets().items():
            run = options.out / f"{name}-{seed}"
            settings = letterrec.load_settings(options.recipe, [f"seed={seed}"])
            letterrec.fit(dataset, run, settings=settings, resume=run.exists(), progress=False)
            ranker = letterrec.load(run).ranker
            said: dict[str, object] = {"name": name, "seed": seed}
            for split in ("valid", "test"):
                measured = evaluate_split(ranker, dataset, split, beam=20)
                ranks.setdefault((name, split), []).append(measured.ranks)
                said[split] = {
                    m: round(float(f(measured.ranks).mean()), 4) for m, f in METRICS.items()
                }
            print(json.dumps(said), flush=True)
    for other in ("plain", "alone"):
        for split in ("valid", "test"):
            for metric, of in METRICS.items():
                ours, theirs = (
                    np.stack([of(r) for r in ranks[n, split]]) for n in ("graded", other)
                )
                found = asdict(paired_bootstrap(ours, theirs))
                about = {"graded less": other, "split": split, "metric": metric}
                print(json.dumps(about | found), flush=True)


if __name__ == "__main__":
    main()
