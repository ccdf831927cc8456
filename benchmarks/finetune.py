"""Fine-tuning of `lcrec` on a slice of Beauty, killed once on the way: does it learn, and resume?

The slice is dense, so that it can be learned in minutes: the 500 users with the most interactions
among the 200 most popular items of Beauty, and those interactions alone, with LETTER's published
identifiers. `letterrec fit` runs in a process of its own, is killed with SIGKILL at a random moment
of its training and goes on with ``--resume``. Needs LETTER's Beauty folder below the folder that
LETTERREC_DATA names.

    LETTERREC_DATA=... OMP_NUM_THREADS=1 python benchmarks/finetune.py [--out FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import letterrec
from letterrec.files import read_json, write_json
from letterrec.files.tensors import read_tensors
from letterrec.training.devices import has_bfloat16
from sides import circumstances, told

ITEMS, USERS = 200, 500
SETTINGS = [
    "identifiers.source=given",
    "data.max_history=5",
    "recommender.dropout=0.0",
    "training.epochs=4",
    "training.batch_size=16",
    "training.learning_rate=2e-3",
    "evaluation.beam=10",
    "evaluation.every=2",
    "evaluation.users=200",
]


def main() -> None:
    """Fit, kill, go on, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="keep slice and run in this new folder")
    parser.add_argument("--set", action="append", default=[], help="a setting of the run")
    parser.add_argument("--chance", type=int, default=0, help="decides when the run is killed")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if "LETTERREC_DATA" not in os.environ:
        sys.exit("LETTERREC_DATA is not set; set it to the folder that holds LETTER's Beauty")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        source = write_slice(Path(os.environ["LETTERREC_DATA"]) / "Beauty", folder / "slice")
        started = time.perf_counter()
        killed = fit(source, folder / "run", arguments.set, random.Random(arguments.chance))
        seconds = time.perf_counter() - started
        result: dict[str, Any] = {"benchmark": "finetune"}
        result["settings"] = [*SETTINGS, *arguments.set]
        used = resource.getrusage(resource.RUSAGE_CHILDREN)  # a shared machine takes longer
        result |= {"seconds": seconds, "processor_seconds": used.ru_utime + used.ru_stime}
        result |= killed | outcome(folder / "run") | circumstances()
        result["machine"]["dtype"] = "bfloat16" if has_bfloat16() else "float32"
    print(json.dumps(result) if arguments.json else table(result))


def write_slice(beauty: Path, folder: Path) -> Path:
    """The slice in LETTER's layout."""
    sequences = read_json(beauty / "Beauty.inter.json")
    popular = Counter(str(i) for items in sequences.values() for i in items).most_common(ITEMS)
    kept = {item for item, _ in popular}
    cut = {user: [i for i in items if str(i) in kept] for user, items in sequences.items()}
    users = sorted(cut, key=lambda user: len(cut[user]), reverse=True)[:USERS]
    folder.mkdir(parents=True)
    write_json(folder / "slice.inter.json", {user: cut[user] for user in users})
    left = {str(i) for user in users for i in cut[user]}
    for kind in ("item", "index"):
        known = read_json(beauty / f"Beauty.{kind}.json")
        write_json(folder / f"slice.{kind}.json", {i: v for i, v in known.items() if i in left})
    return folder


def fit(source: Path, run: Path, overrides: list[str], chance: random.Random) -> dict[str, Any]:
    """Fit, with a kill between a tenth and nine tenths of the training's steps."""
    command = [sys.executable, "-m", "letterrec.cli", "fit", str(source), "--out", str(run)]
    command += ["--recipe", "lcrec", "--resume"]
    for setting in [*SETTINGS, *overrides]:
        command += ["--set", setting]
    share, delay = chance.uniform(0.1, 0.9), chance.uniform(0, 10)
    killed_at = _until_killed(command, share, delay)
    checkpoint = run / "training" / "recommender" / "checkpoint.safetensors"
    epochs = len(read_tensors(checkpoint)[1]["log"]["epochs"]) if checkpoint.exists() else 0
    print(f"killed after step {killed_at}, goes on from epoch {epochs + 1}", file=sys.stderr)
    subprocess.run(command, check=True, stdout=sys.stderr)
    return {"killed_after_step": killed_at, "epochs_before_kill": epochs}


def _until_killed(command: list[str], share: float, delay: float) -> int:
    """Run a command and kill it ``delay`` seconds after that share of the training's steps."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=sys.stderr, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        print(line.rstrip(), file=sys.stderr)
        found = re.search(r"recommender \(lcrec\): (\d+)/(\d+)", line)
        if found and int(found[1]) >= share * int(found[2]):
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.wait()
            return int(found[1])
    sys.exit(f"the fit ended (exit code {process.wait()}) before it could be killed")


def outcome(folder: Path) -> dict[str, Any]:
    """What the run has to show."""
    engine = letterrec.load(folder)
    lists = engine.recommend([engine.history_of(u) for u in engine.dataset.user_ids], k=10)
    recommended = [item for answer in lists for item, _ in answer]
    known = set(read_json(folder.parent / "slice" / "slice.item.json"))
    metrics = read_json(folder / "metrics.json")
    checkpoint = folder / "training" / "recommender" / "checkpoint.safetensors"
    epochs = read_tensors(checkpoint)[1]["log"]["epochs"]
    return {
        "users": engine.dataset.n_users,
        "items": engine.dataset.n_items,
        "interactions": engine.dataset.n_interactions,
        "loss": [epoch["loss"] for epoch in epochs],
        "seconds_of_epochs": [epoch["seconds"] for epoch in epochs],
        "valid": metrics["valid"]["metrics"],
        "popularity": metrics["popularity"]["valid"],
        "recommended": len(recommended),
        "recommended_that_exist": sum(item in known for item in recommended),
    }


def table(result: dict[str, Any]) -> str:
    """The result as people read it."""
    epochs = zip(result["loss"], result["seconds_of_epochs"], strict=True)
    lines = [f"{result['users']} users, {result['items']} items, {result['interactions']} in all"]
    lines += [f"epoch {n}: loss {loss:.4f}, {s:.0f} s" for n, (loss, s) in enumerate(epochs, 1)]
    lines += [
        f"killed after step {result['killed_after_step']}, gone on from epoch "
        f"{result['epochs_before_kill'] + 1}",
        f"{'validation':12}{'Recall@10':>10}{'NDCG@10':>10}",
    ]
    lines += [
        f"{name:12}{result[key]['recall@10']:10.4f}{result[key]['ndcg@10']:10.4f}"
        for name, key in (("lcrec", "valid"), ("popularity", "popularity"))
    ]
    lines += [
        f"{result['recommended_that_exist']} of {result['recommended']} recommended items exist",
        f"{result['seconds']:.0f} s, {result['processor_seconds']:.0f} s of them computing",
        told(result),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
