"""A log larger than memory: seconds and peak memory of reading and packing it.

Writes a folder of Parquet parts (users with 20 interactions on average, items by Zipf's law, in no
order), then reads it in a process of its own. Prints JSON.

    python benchmarks/large_log.py --rows 200000000 --folder /scratch/log
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl

import letterrec

PART = 5_000_000  # rows of a file
PER_USER, PER_ITEM = 20, 200


def write(folder: Path, rows: int) -> None:
    """Write the log, a part after the other; parts that are there stay."""
    parts = folder / "interactions.parquet"
    parts.mkdir(parents=True, exist_ok=True)
    users, items = max(1, rows // PER_USER), max(1, rows // PER_ITEM)
    for number, start in enumerate(range(0, rows, PART)):
        path = parts / f"part-{number:05d}.parquet"
        if path.exists():
            continue
        n = min(PART, rows - start)
        random = np.random.default_rng(number)
        frame = pl.DataFrame(
            {
                "user": random.integers(users, size=n),
                "item": (items * random.random(n) ** 3).astype(np.int64),
                "timestamp": 1_600_000_000 + random.integers(100_000_000, size=n),
            }
        )
        temporary = path.with_suffix(".tmp")
        frame.write_parquet(temporary)
        temporary.rename(path)


def watch(peak: list[int], over: threading.Event) -> None:
    """Keep the highest anonymous memory, without pages of files, in bytes."""
    while not over.wait(0.2):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                peak[0] = max(peak[0], int(line.split()[1]) * 1024)


def measure(folder: Path) -> dict[str, object]:
    """Read the log here."""
    peak, over = [0], threading.Event()
    watcher = threading.Thread(target=watch, args=(peak, over))
    watcher.start()
    began, cpu = time.perf_counter(), time.process_time()
    dataset = letterrec.read(folder)
    seconds, busy = time.perf_counter() - began, time.process_time() - cpu
    over.set()
    watcher.join()
    return {
        "users": dataset.n_users,
        "items": dataset.n_items,
        "interactions": dataset.n_interactions,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(busy, 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "peak_anonymous_gib": round(peak[0] / 2**30, 2),
        "notes": list(dataset.warnings),
    }


def main() -> None:
    """Write, then read in another process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--read", action="store_true", help="read a log that is there, here")
    given = parser.parse_args()
    if given.read:
        print(json.dumps(measure(given.folder)))
        return
    write(given.folder, given.rows)
    command = [sys.executable, __file__, "--read", "--folder", str(given.folder)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
