"""Constrained beam search of `tiger`: ours against transformers' `generate` with a prefix callback.

Both sides decode the same test histories of Instruments with the same weights (the paper's sizes,
LETTER's published identifiers); they take turns, so that a busy machine slows both, and the lists
have to be equal. Needs LETTER's Instruments folder below the folder that LETTERREC_DATA names.

    LETTERREC_DATA=... python benchmarks/decode.py [--users 64] [--repeats 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from letterrec.data import read
from letterrec.data.dataset import Histories
from letterrec.decoding.beam import search
from letterrec.decoding.trie import Trie
from letterrec.identifiers import PAD_TOKEN, Identifiers, parse_tokens
from letterrec.recommenders.tiger import Tiger, spell
from sides import circumstances, compare, legal_tokens, take_turns, told

BEAM = 20
BATCH = 32


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--users", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--single", type=int, default=100, help="users decoded one by one")
    parser.add_argument("--training-users", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if "LETTERREC_DATA" not in os.environ:
        sys.exit("LETTERREC_DATA is not set; set it to the folder that holds LETTER's Instruments")
    dataset = read(Path(os.environ["LETTERREC_DATA"]) / "Instruments")
    if dataset.given_tokens is None:
        sys.exit("Instruments has no index.json; take LETTER's folder with its identifiers")
    identifiers = parse_tokens(dataset.given_tokens)
    torch.manual_seed(0)
    tiger = Tiger(identifiers)

    result: dict[str, Any] = {"benchmark": "decode", "beam": BEAM, "batch": BATCH}
    result["training"] = train(tiger, dataset.training(), arguments.training_users)
    trie = Trie.build(identifiers, dataset.popularity)
    peer = Peer(tiger, identifiers)
    cases = dataset.held_out("test")
    chosen = np.random.default_rng(0).permutation(len(cases))
    rows = torch.from_numpy(cases.histories.take(chosen[: arguments.users]).padded(20))
    singles = cases.histories.take(chosen[: arguments.single])

    def ours(histories: Tensor) -> tuple[Tensor, Tensor]:
        return search(tiger.encode(histories), trie, beam=BEAM, k=BEAM)

    ours(rows[:2]), peer(rows[:2])  # warm up
    sides, lists = take_turns(ours, peer, torch.split(rows, BATCH), arguments.repeats)
    result |= compare(lists, identifiers.tokens.tolist()) | sides
    result["ours"]["one_by_one_ms"] = latency(ours, singles)
    result["transformers"]["one_by_one_ms"] = latency(peer, singles.take(np.arange(5)))
    result |= circumstances()
    print(json.dumps(result) if arguments.json else table(result))


class Peer:
    """transformers' `generate` on the same weights, told the legal tokens by a callback."""

    def __init__(self, tiger: Tiger, identifiers: Identifiers) -> None:
        self._network = tiger.to_transformers()
        self._tokens = torch.from_numpy(identifiers.tokens)
        self._legal = legal_tokens(identifiers.tokens.tolist())

    def __call__(self, histories: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``(batch, beam, levels)`` of the best identifiers, and their scores."""
        tokens = spell(histories, self._tokens)
        levels = self._tokens.shape[1]
        out = self._network.generate(
            tokens,
            attention_mask=(tokens != PAD_TOKEN).long(),
            prefix_allowed_tokens_fn=lambda _, given: self._legal[tuple(given.tolist()[1:])],
            num_beams=BEAM,
            num_return_sequences=BEAM,
            max_new_tokens=levels,
            do_sample=False,
            length_penalty=0.0,
            return_dict_in_generate=True,
            output_scores=True,
        )
        batch = len(histories)
        return (
            out.sequences[:, 1:].view(batch, BEAM, levels),
            out.sequences_scores.view(batch, BEAM),
        )


def train(tiger: Tiger, histories: Histories, n_users: int) -> dict[str, float]:
    """One short epoch, which also gives the weights that are decoded with."""
    sample = histories.take(np.random.default_rng(0).permutation(len(histories))[:n_users])
    log = tiger.fit(sample, epochs=1, batch_size=256, learning_rate=1e-3)
    n_samples = int((sample.lengths - 1).clip(0).sum())
    return {"samples": n_samples, "samples_per_second": n_samples / log.seconds}


def latency(
    decode: Callable[[Tensor], tuple[Tensor, Tensor]], histories: Histories
) -> dict[str, float]:
    """Milliseconds for one user at a time."""
    milliseconds = []
    for row in range(len(histories)):
        one = torch.from_numpy(histories.take(np.array([row])).padded(20))
        started = time.perf_counter()
        decode(one)
        milliseconds.append(1000 * (time.perf_counter() - started))
    return {
        "users": len(milliseconds),
        "median": statistics.median(milliseconds),
        "p99": float(np.percentile(milliseconds, 99)),
    }


def table(result: dict[str, Any]) -> str:
    """The result as people read it."""
    lines = [f"{'':14}{'users/s':>10}{'one by one, median ms':>24}{'p99 ms':>10}"]
    for name in ("ours", "transformers"):
        side = result[name]
        single = side["one_by_one_ms"]
        lines.append(
            f"{name:14}{side['users_per_second']:10.1f}"
            f"{single['median']:24.1f}{single['p99']:10.1f}"
        )
    lines += [
        f"ratio {result['ratio']:.1f}, beam {BEAM}, batches of {BATCH}; "
        f"{result['equal_lists']:.1%} of the lists equal, scores within "
        f"{result['largest_score_difference']:.1e}",
        f"training: {result['training']['samples_per_second']:.0f} samples/s",
        told(result),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
