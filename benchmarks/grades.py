"""Liked items from graded ratings, against ratings without grades and against likes alone.

All three are asked for the same liked items of the same users of MovieLens-100k, at the same places
of their histories. Prints JSON: the metrics of each fit, then the paired differences of the first
from the others over the seeds that all have.

    python benchmarks/grades.py --out runs/grades --recipe quickstart --seeds 3
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

import letterrec
from letterrec.data import Dataset, Histories
from letterrec.data.behaviours import with_targets
from letterrec.data.splits import Cut
from letterrec.evaluation.metrics import Measures, Ranks, summarise
from letterrec.evaluation.protocol import evaluate_split
from letterrec.evaluation.significance import paired_bootstrap

MEASURES = Measures(cuts=(10,))


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


def main() -> None:
    """Fit, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    ranks: dict[tuple[str, str], list[Ranks]] = {}
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
                means = summarise(measured.ranks, MEASURES)
                said[split] = {metric: round(mean, 4) for metric, mean in means.items()}
            print(json.dumps(said), flush=True)
    for other in ("plain", "alone"):
        for split in ("valid", "test"):
            ours, theirs = (
                [MEASURES.of_cases(r) for r in ranks[n, split]] for n in ("graded", other)
            )
            for metric in ours[0]:
                both = (np.stack([seed[metric] for seed in side]) for side in (ours, theirs))
                found = asdict(paired_bootstrap(*both))
                about = {"graded less": other, "split": split, "metric": metric}
                print(json.dumps(about | found), flush=True)


if __name__ == "__main__":
    main()
