"""What the benchmarks share: options, data, turns of two sides, lists compared, circumstances."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from letterrec.data import Dataset, read
from letterrec.identifiers.identifiers import Identifiers, parse_tokens
from letterrec.runs.origin import processor

Lists = list[tuple[Tensor, Tensor]]  # per batch what was found, and its scores
Decode = Callable[[Tensor], tuple[Tensor, Tensor]]
Turn = Callable[[], float]  # does its work once; units of it per second


def command_line(doc: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0] if doc else None)
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side")
    parser.add_argument(
        "--threads", type=int, help="of torch; what OMP_NUM_THREADS says unless given"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options given, torch's threads set."""
    arguments = parser.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    return arguments


def letter_data(name: str) -> tuple[Dataset, Identifiers]:
    """One of LETTER's data sets with its published identifiers; ends the program without them."""
    if "LETTERREC_DATA" not in os.environ:
        sys.exit(f"LETTERREC_DATA is not set; set it to the folder that holds LETTER's {name}")
    dataset = read(Path(os.environ["LETTERREC_DATA"]) / name)
    if dataset.given_tokens is None:
        sys.exit(f"{name} has no index.json; take LETTER's folder with its identifiers")
    return dataset, parse_tokens(dataset.given_tokens)


def take_turns(sides: Mapping[str, Turn], repeats: int) -> dict[str, list[float]]:
    """What each side's turns gave; the sides take turns, so that a busy machine slows all."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, turn in sides.items():
            rates[name].append(turn())
    return rates


def ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """The median over turns of our rate by the peer's."""
    return statistics.median(a / b for a, b in zip(ours, peer, strict=True))


def decode_in_turns(
    ours: Decode, peer: Decode, batches: Sequence[Tensor], repeats: int
) -> tuple[dict[str, Any], dict[str, Lists]]:
    """Decode all batches with either side in turn.

    Returns:
        ``ours`` and ``transformers``, each with median ``users_per_second``, and the median
        ``ratio``; and the lists of each side.
    """
    lists: dict[str, Lists] = {}
    users = sum(len(batch) for batch in batches)

    def turn(name: str, decode: Decode) -> float:
        started = time.perf_counter()
        lists[name] = [decode(batch) for batch in batches]
        return users / (time.perf_counter() - started)

    sides = {
        "ours": partial(turn, "ours", ours),
        "transformers": partial(turn, "transformers", peer),
    }
    rates = take_turns(sides, repeats)
    result: dict[str, Any] = {
        name: {"users_per_second": statistics.median(rates[name])} for name in rates
    }
    result["ratio"] = ratio(rates["ours"], rates["transformers"])
    return result, lists


def legal_tokens(items: Sequence[Sequence[int]]) -> dict[tuple[int, ...], list[int]]:
    """For each beginning of the items' tokens, the tokens that may follow it."""
    following: dict[tuple[int, ...], set[int]] = {}
    for tokens in items:
        for level, token in enumerate(tokens):
            following.setdefault(tuple(tokens[:level]), set()).add(token)
    return {prefix: sorted(tokens) for prefix, tokens in following.items()}


def compare(lists: Mapping[str, Lists], spelled: Sequence[Sequence[int]]) -> dict[str, float]:
    """Share of equal lists, and the largest difference of scores at equal ranks.

    Ours hold items, theirs tokens; of items that share an identifier the first stands for it.
    """
    equal, difference, n = 0, 0.0, 0
    pairs = zip(lists["ours"], lists["transformers"], strict=True)
    for (items, scores), (sequences, their_scores) in pairs:
        for i in range(len(items)):
            tokens = [tuple(spelled[item]) for item in items[i].tolist()]
            own = list(dict.fromkeys(zip(tokens, scores[i].tolist(), strict=True)))
            other = [tuple(s) for s in sequences[i].tolist()]
            equal += [s for s, _ in own] == other[: len(own)]
            both = zip(own, their_scores[i].tolist(), strict=False)
            difference = max(difference, *(abs(s - t) for (_, s), t in both))
            n += 1
    return {"equal_lists": equal / n, "largest_score_difference": difference}


def circumstances(dtype: str = "float32") -> dict[str, Any]:
    """``machine`` and ``versions``."""
    return {
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "dtype": dtype,
            "device": "cpu",
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def told(result: Mapping[str, Any]) -> str:
    """`circumstances` as people read them."""
    machine, versions = result["machine"], result["versions"]
    return (
        f"{machine['processor']}, {machine['threads']} threads, {machine['dtype']}; "
        f"torch {versions['torch']}, transformers {versions['transformers']}"
    )
