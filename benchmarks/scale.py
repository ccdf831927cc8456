"""How cost grows: catalogues of 10 thousand to 10 million items, logs of a million rows and more.

Catalogues have planted identifiers of 4 levels of 256 codes, the low codes likelier, all distinct.
Per size: the time to build the trie and its bytes per item; decoding per user, beam 20, batches of
256, by the search alone (a decoder whose scores are random and ready) and with an untrained `rqt`
of default size, whose embedding of 10 million items alone takes 5 GB; and how fast the tokenizer
gives identifiers to new items, half as many as the catalogue has and at most 500,000, beside those
that are taken. Logs are Parquet: reading and checking, 5-core and time order, and one epoch of
`rqt`'s batches.

`--fit` makes whole default fits of planted data instead (`planted.py`), of 10 thousand, 100
thousand and a million items: seconds and memory of each stage, and what is found beside what was
planted.

Each figure comes from a process of its own, so that memory peaks are separate; a fresh process
with the libraries loaded is the row "nothing". There is no other side here.

    python benchmarks/scale.py [--items 10000 ... ] [--rows 1000000 ...] [--full] [--json]
    python benchmarks/scale.py --fit 10000 100000 ... [--keep FOLDER] [--set KEY=VALUE ...] [--json]
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from letterrec.data.readers.compact_log import collect_events
from letterrec.data.readers.interactions import dataset_from_events
from letterrec.decoding.beam_search import Decoder, search
from letterrec.decoding.trie import Trie
from letterrec.identifiers.identifiers import Identifiers
from letterrec.recommenders.rqt.model import Rqt
from letterrec.tokenizers import Items
from letterrec.tokenizers.letter import LetterTokenizer
from letterrec.training.loop import batches_by_length
from letterrec.training.options import TrainingOptions
from planted import fit_planted, fit_table
from sides import circumstances, command_line, parsed, told

BEAM, BATCH = 20, 256
SIZES = (256, 256, 256, 256)
CONTENT = 384  # dimension of content embeddings
Figures = dict[str, Any]


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("--items", type=int, nargs="*", default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--rows", type=int, nargs="*", default=[10**6, 5 * 10**6, 2 * 10**7])
    parser.add_argument("--full", action="store_true", help="also a log of 50 million rows")
    parser.add_argument("--fit", type=int, nargs="*", help="items of whole fits, and nothing else")
    parser.add_argument("--keep", type=Path, help="folder of the fits; those that are there go on")
    parser.add_argument("--set", action="append", default=[], help="a setting of the fits")
    arguments = parsed(parser)
    if arguments.fit is not None:
        fits(arguments.fit or [10**4, 10**5, 10**6], arguments.keep, arguments.set, arguments.json)
        return
    repeats = arguments.repeats
    rows = arguments.rows + [5 * 10**7] * arguments.full
    result: dict[str, Any] = {"benchmark": "scale", "beam": BEAM, "batch": BATCH}
    result["nothing"] = alone(nothing)
    result["catalogues"], result["logs"] = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for n in arguments.items:
            path = Path(folder) / "codes.npy"
            alone(plant, n, path)
            result["catalogues"][n] = {
                "trie": alone(trie, path, repeats),
                "search": alone(search_alone, path, repeats),
                "rqt": alone(with_rqt, path, repeats),
                "tokenizer": alone(assignment, path),
            }
        for n in rows:
            path = Path(folder) / "interactions.parquet"
            alone(write_log, n, path)
            result["logs"][n] = alone(log, path)
    result |= circumstances()
    print(json.dumps(result) if arguments.json else table(result))


def fits(items: Sequence[int], keep: Path | None, changes: list[str], as_json: bool) -> None:
    """Fit planted data of each size in a process of its own, and print what it cost."""
    with tempfile.TemporaryDirectory() as passing:
        found = {n: alone(fit_planted, n, (keep or Path(passing)) / str(n), changes) for n in items}
    result = {"benchmark": "scale", "fits": found, **circumstances()}
    print(json.dumps(result) if as_json else "\n".join([fit_table(found), told(result)]))


def alone(measure: Callable[..., Figures], *arguments: Any) -> Figures:
    """What ``measure`` finds in a new process, and that process's ``peak_mb`` of memory."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_with_peak, torch.get_num_threads(), measure, arguments).result()


def _with_peak(threads: int, measure: Callable[..., Figures], arguments: Sequence[Any]) -> Figures:
    torch.set_num_threads(threads)
    figures = measure(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**figures, "peak_mb": peak}


def nothing() -> Figures:
    """What the libraries take."""
    return {}


def plant(n: int, path: Path) -> Figures:
    """Write distinct codes int32 ``(n, 4)``: the share of codes below ``c`` is sqrt(c / 256)."""
    draw = np.random.default_rng(0)
    keys = np.empty(0, dtype=np.int64)
    while len(keys) < n:
        levels = (np.square(draw.random((n + n // 4 + 100, 4))) * 256).astype(np.int64)
        keys = np.unique(np.append(keys, levels @ (256 ** np.arange(4))))
    keys = draw.permutation(keys)[:n]
    np.save(path, np.stack([keys // 256**level % 256 for level in range(4)], 1).astype(np.int32))
    return {}


def planted(path: Path) -> Identifiers:
    """What `plant` wrote."""
    return Identifiers(np.load(path), SIZES)


def trie(path: Path, repeats: int) -> Figures:
    """Building time and size of the trie."""
    identifiers = planted(path)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        built = Trie.build(identifiers)
        seconds.append(time.perf_counter() - started)
    tensors = (built.items, built.position, *built.codes, *built.first_child, *built.first_item)
    n_bytes = sum(t.nbytes for t in (*tensors, *built.tables) if t is not None)
    return {
        "seconds": statistics.median(seconds),
        "bytes_per_item": n_bytes / identifiers.n_items,
    }


class RandomScores:
    """A decoder whose scores are ready, so that searching is all that takes time."""

    over_legal = True
    retrieved: None = None
    wish_effect: None = None

    def __init__(self) -> None:
        self._first = torch.randn(BATCH, 1, 256)
        self._later = torch.randn(BATCH, BEAM, 256)
        self._level = 0

    def limit(self, allowed: Tensor) -> None:
        """Nothing: no items are retrieved."""

    def log_probs(self, is_open: Tensor | None = None) -> Tensor:
        """float32 ``(256, beams, 256)``."""
        return self._later if self._level else self._first

    def advance(self, parents: Tensor, codes: Tensor) -> None:
        """Go on to the next level."""
        self._level += 1


def search_alone(path: Path, repeats: int) -> Figures:
    """Milliseconds of search per user."""
    torch.manual_seed(0)
    decoders = [RandomScores() for _ in range(4 * repeats)]
    return per_user(lambda i: decoders[i], Trie.build(planted(path)), len(decoders))


def with_rqt(path: Path, repeats: int) -> Figures:
    """Milliseconds per user to encode 8 random items and search."""
    torch.manual_seed(0)
    identifiers = planted(path)
    rqt = Rqt(identifiers).eval()
    histories = torch.randint(identifiers.n_items, (2 * repeats, BATCH, 8))
    return per_user(lambda i: rqt.encode(histories[i]), Trie.build(identifiers), len(histories))


def per_user(decoder: Callable[[int], Decoder], tree: Trie, batches: int) -> Figures:
    """The median over batches but the first, which warms up."""
    seconds = []
    for i in range(batches):
        started = time.perf_counter()
        search(decoder(i), tree, beam=BEAM, k=BEAM)
        seconds.append(time.perf_counter() - started)
    return {"ms_per_user": 1000 * statistics.median(seconds[1:]) / BATCH}


def assignment(path: Path) -> Figures:
    """Items per second that get identifiers of their own beside those that are taken."""
    codes = planted(path).codes
    n = min(len(codes) // 2, 500_000)
    draw = np.random.default_rng(0)
    mixing = draw.standard_normal((32, CONTENT), dtype=np.float32)
    content = draw.standard_normal((n, 32), dtype=np.float32) @ mixing
    tokenizer = LetterTokenizer(alpha=0).fit(
        Items(content[:5000]), TrainingOptions(epochs=2, batch_size=1024)
    )
    started = time.perf_counter()
    tokenizer.assign(Items(content), codes[n:])
    return {"items": n, "items_per_second": n / (time.perf_counter() - started)}


def write_log(n: int, path: Path) -> Figures:
    """A log of ``n`` rows: a user per 8 rows and an item per 40, some of either more active."""
    draw = np.random.default_rng(0)
    users = (np.power(draw.random(n), 1.5) * (n // 8)).astype(np.int64)
    items = (np.power(draw.random(n), 3) * (n // 40)).astype(np.int64)
    times = draw.integers(1_400_000_000, 1_500_000_000, n)
    pl.DataFrame({"user": users, "item": items, "timestamp": times}).write_parquet(path)
    return {}


def log(path: Path) -> Figures:
    """Seconds of the path from a log to batches."""
    with timed() as reading:
        frame = pl.scan_parquet(path).rename({"timestamp": "time"})
        events = collect_events(frame, where=path)
    with timed() as core:
        dataset = dataset_from_events(events, name="log", where=path, k_core=5)
        histories = dataset.training()
    with timed() as batching:
        windows = histories.windows(21)
        for rows in batches_by_length(windows.lengths, TrainingOptions(batch_size=BATCH), epoch=0):
            windows.take(rows).padded()
    return {
        "reading_seconds": reading[0],
        "core_seconds": core[0],
        "batching_seconds": batching[0],
        "kept": dataset.n_interactions,
        "users": dataset.n_users,
        "items": dataset.n_items,
    }


@contextmanager
def timed() -> Iterator[list[float]]:
    """A list that holds the seconds that the block took, once it is over."""
    seconds: list[float] = []
    started = time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - started)


def table(result: dict[str, Any]) -> str:
    """The result as people read it; memory is the peak of the process in MB."""
    head = f"{'items':>10}{'trie s':>8}{'B/item':>8}{'MB':>7}{'search ms/user':>16}{'MB':>7}"
    lines = [f"{head}{'rqt ms/user':>13}{'MB':>7}{'assigned/s':>12}{'MB':>7}"]
    for n, parts in result["catalogues"].items():
        built, found, rqt, given = (parts[k] for k in ("trie", "search", "rqt", "tokenizer"))
        lines.append(
            f"{n:10,}{built['seconds']:8.2f}{built['bytes_per_item']:8.1f}{built['peak_mb']:7.0f}"
            f"{found['ms_per_user']:16.3f}{found['peak_mb']:7.0f}"
            f"{rqt['ms_per_user']:13.3f}{rqt['peak_mb']:7.0f}"
            f"{given['items_per_second']:12,.0f}{given['peak_mb']:7.0f}"
        )
    head = f"{'rows':>10}{'reading s':>11}{'5-core s':>10}{'batches s':>11}"
    lines.append(f"{head}{'kept':>12}{'MB':>7}")
    lines += [
        f"{n:10,}{part['reading_seconds']:11.2f}{part['core_seconds']:10.2f}"
        f"{part['batching_seconds']:11.2f}{part['kept']:12,}{part['peak_mb']:7.0f}"
        for n, part in result["logs"].items()
    ]
    lines += [f"nothing: {result['nothing']['peak_mb']:.0f} MB", told(result)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
