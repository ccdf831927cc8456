"""What benchmarks of two sides share: turns, lists that are compared, and where it was measured."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import transformers
from torch import Tensor

from letterrec.run import processor

Lists = list[tuple[Tensor, Tensor]]  # per batch what was found, and its scores
Decode = Callable[[Tensor], tuple[Tensor, Tensor]]


def take_turns(
    ours: Decode, peer: Decode, batches: Sequence[Tensor], repeats: int
) -> tuple[dict[str, Any], dict[str, Lists]]:
    """Decode all batches with either side in turn, so that a busy machine slows both.

    Returns:
        ``ours`` and ``transformers``, each with median ``users_per_second``, and the median
        ``ratio``; and the lists of each side.
    """
    times: dict[str, list[float]] = {"ours": [], "transformers": []}
    lists: dict[str, Lists] = {}
    for _ in range(repeats):
        for name, decode in (("ours", ours), ("transformers", peer)):
            started = time.perf_counter()
            lists[name] = [decode(batch) for batch in batches]
            times[name].append(time.perf_counter() - started)
    users = sum(len(batch) for batch in batches)
    result: dict[str, Any] = {
        name: {"users_per_second": users / statistics.median(times[name])} for name in times
    }
    result["ratio"] = statistics.median(
        theirs / own for own, theirs in zip(times["ours"], times["transformers"], strict=True)
    )
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


def circumstances() -> dict[str, Any]:
    """``machine`` and ``versions``."""
    return {
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "dtype": "float32",
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
