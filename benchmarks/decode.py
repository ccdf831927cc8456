"""Constrained beam search: `tiger` against `generate` with a prefix callback, and Cornac; `rqt`.

Both sides of `tiger` decode the same test histories of Instruments with the same weights (the
paper's sizes, LETTER's published identifiers); they take turns, so that a busy machine slows both,
and the lists have to be equal. `rqt` of default size decodes Beauty's; its weights are random, and
so is its content: neither changes the work. It does so with transitions that are learned of Beauty
and with its softmax over items, without transitions, and by its codes alone; `--run` takes another
`rqt`, with the histories of its own data set, and leaves `tiger` out. Where Cornac 3.0.1 is
installed, its TIGER of the same sizes decodes the same histories with random weights, one by one,
as it does. Needs LETTER's folders below the folder that LETTERREC_DATA names.

    LETTERREC_DATA=... python benchmarks/decode.py [--users 64] [--repeats 3] [--json]
    python benchmarks/decode.py --run RUN
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from letterrec.data import Histories
from letterrec.data.splits import HeldOut
from letterrec.decoding.beam_search import search
from letterrec.decoding.ranker import GenerativeRanker, Queries
from letterrec.decoding.trie import Trie
from letterrec.evaluation.ranking import rank_cases
from letterrec.identifiers.identifiers import FIRST_CODE_TOKEN, PAD_TOKEN, Identifiers
from letterrec.linear.transition_fitting import learn_transitions
from letterrec.recommenders.rqt.model import Rqt
from letterrec.recommenders.tiger.model import Tiger
from letterrec.recommenders.tiger.spelling import spell
from letterrec.runs.run import Run
from letterrec.serving.opening import load
from letterrec.training.options import TrainingOptions
from sides import (
    circumstances,
    command_line,
    compare,
    decode_in_turns,
    legal_tokens,
    letter_data,
    parsed,
    ratio,
    take_turns,
    told,
)

BEAM = 20
BATCH = 32


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("--users", type=int, default=64, help="that both sides of tiger decode")
    parser.add_argument("--cornac-users", type=int, default=16, help="that Cornac decodes")
    parser.add_argument("--rqt-users", type=int, default=4096)
    parser.add_argument("--single", type=int, default=300, help="users decoded one by one")
    parser.add_argument("--training-users", type=int, default=400)
    parser.add_argument("--run", type=Path, help="of an rqt that is measured alone")
    parser.add_argument("--rqt-alone", action="store_true", help="leave tiger out")
    arguments = parsed(parser)
    result: dict[str, Any] = {"benchmark": "decode", "batch": BATCH}
    if arguments.run is None and not arguments.rqt_alone:
        result["tiger"] = tiger_side_by_side(arguments)
    result["rqt"] = rqt_alone(arguments)
    result |= circumstances()
    print(json.dumps(result) if arguments.json else table(result))


def tiger_side_by_side(arguments: argparse.Namespace) -> dict[str, Any]:
    """Throughput, latency and lists of both sides on Instruments."""
    dataset, identifiers = letter_data("Instruments")
    torch.manual_seed(0)
    tiger = Tiger(identifiers)
    result: dict[str, Any] = {"training": train(tiger, dataset.training(), arguments)}
    trie = Trie.build(identifiers, dataset.popularity)
    peer = Peer(tiger, identifiers)
    cases = dataset.held_out("test")
    chosen = np.random.default_rng(0).permutation(len(cases))
    rows = torch.from_numpy(cases.histories.take(chosen[: arguments.users]).padded(20))
    singles = cases.histories.take(chosen[: arguments.single])

    def ours(histories: Tensor) -> tuple[Tensor, Tensor]:
        return search(tiger.encode(histories), trie, beam=BEAM, k=BEAM)

    ours(rows[:2]), peer(rows[:2])  # warm up
    sides, lists = decode_in_turns(ours, peer, torch.split(rows, BATCH), arguments.repeats)
    result |= compare(lists, identifiers.tokens.tolist()) | sides
    if importlib.util.find_spec("cornac") is not None:
        few = rows[: arguments.cornac_users]
        turns = {
            "ours": partial(rate, ours, rows),
            "cornac": partial(rate, Cornac(identifiers), few),
        }
        rates = take_turns(turns, arguments.repeats)
        result["cornac"] = {"users_per_second": statistics.median(rates["cornac"])}
        result["cornac"]["ratio"] = ratio(rates["ours"], rates["cornac"])
    result["ours"]["one_by_one_ms"] = latency(ours, singles)
    result["transformers"]["one_by_one_ms"] = latency(peer, singles.take(np.arange(5)))
    return result


def rqt_alone(arguments: argparse.Namespace) -> dict[str, Any]:
    """By what is mixed and by beam: throughput in batches of 256 (as `evaluate` decodes), and
    latency.
    """
    rqt, whole, cases = default_rqt() if arguments.run is None else rqt_of(arguments.run)
    share = rqt.item_share
    chosen = np.random.default_rng(0).permutation(len(cases))
    many = cases.take(chosen[: arguments.rqt_users])
    singles = cases.histories.take(chosen[: arguments.single])
    plain = replace(whole, transitions=None)
    sides = {"whole": (whole, share), "no transitions": (plain, share), "codes": (plain, 0.0)}
    result: dict[str, Any] = {}
    for beam in (20, 50):
        for name, (ranker, item_share) in sides.items():
            rqt.item_share = item_share
            rates = [_many_at_once(ranker, many, beam) for _ in range(arguments.repeats + 1)]
            single = latency(partial(_rank, ranker, beam), singles)
            result[f"{name}, beam {beam}"] = {
                "users_per_second_batch_256": statistics.median(rates[1:]),  # the first warms up
                "users_per_second_batch_1": 1000 / single["mean"],
                "one_by_one_ms": single,
            }
    return result


def default_rqt() -> tuple[Rqt, GenerativeRanker, HeldOut]:
    """One with random weights for Beauty, with the transitions that Beauty's histories teach."""
    dataset, identifiers = letter_data("Beauty")
    torch.manual_seed(0)
    rqt = Rqt(identifiers, torch.randn(dataset.n_items, 384)).eval()
    trie = Trie.build(identifiers, dataset.popularity)
    transitions, _ = learn_transitions(dataset.training(), dataset.n_items)
    transitions = replace(transitions, seen=0.0)  # as validation chooses there
    return rqt, GenerativeRanker(rqt, trie, transitions), dataset.held_out("test")


def rqt_of(folder: Path) -> tuple[Rqt, GenerativeRanker, HeldOut]:
    """That of a run, with the test cases of its data set."""
    run = Run.open(folder)
    ranker = load(run, edits=False).ranker
    if not isinstance(ranker, GenerativeRanker) or not isinstance(ranker.recommender, Rqt):
        sys.exit(f"{folder} is no run of an rqt; name one that is")
    return ranker.recommender, ranker, run.dataset().held_out("test")


def _many_at_once(ranker: GenerativeRanker, cases: HeldOut, beam: int) -> float:
    started = time.perf_counter()
    rank_cases(ranker, cases, k=beam, batch_size=256, beam=beam)
    return len(cases) / (time.perf_counter() - started)


def _rank(ranker: GenerativeRanker, beam: int, history: Tensor) -> tuple[Tensor, Tensor]:
    queries = Queries(Histories.from_lists(history.tolist()), beam, beam=beam)
    return ranker.rank(queries)


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


class Cornac:
    """Cornac's TIGER: the same T5 with output rows of its own, histories padded on the left."""

    def __init__(self, identifiers: Identifiers) -> None:
        from cornac.models.tiger.tiger import TIGERSeq2Seq

        self._network = TIGERSeq2Seq(identifiers.sizes).eval()
        offsets = np.array(identifiers.level_offsets) - FIRST_CODE_TOKEN
        children = legal_tokens(identifiers.codes.tolist())
        self._children: list[dict[tuple[int, ...], list[int]]] = [
            {prefix: codes for prefix, codes in children.items() if len(prefix) == level}
            for level in range(identifiers.n_levels)
        ]
        self._tokens = torch.from_numpy(identifiers.codes + offsets + 1)  # 0 is padding

    def __call__(self, histories: Tensor) -> None:
        """Decode one by one."""
        for history in histories:
            spelled = self._tokens[history[history >= 0]].flatten()
            tokens = F.pad(spelled, (histories.shape[1] * len(self._children) - len(spelled), 0))
            mask = (tokens != 0).float()
            self._network.generate_beam(tokens[None], mask[None], BEAM, self._children)


def rate(decode: Callable[[Tensor], object], histories: Tensor) -> float:
    """Users per second, in batches."""
    started = time.perf_counter()
    for batch in torch.split(histories, BATCH):
        decode(batch)
    return len(histories) / (time.perf_counter() - started)


def train(tiger: Tiger, histories: Histories, arguments: argparse.Namespace) -> dict[str, float]:
    """One short epoch, which gives the weights that are decoded with."""
    chosen = np.random.default_rng(0).permutation(len(histories))[: arguments.training_users]
    sample = histories.take(chosen)
    log = tiger.fit(sample, TrainingOptions(epochs=1, learning_rate=1e-3))
    n_samples = int((sample.lengths - 1).clip(0).sum())
    return {"samples": n_samples, "samples_per_second": n_samples / log.seconds}


def latency(
    decode: Callable[[Tensor], tuple[Tensor, Tensor]], histories: Histories
) -> dict[str, float]:
    """Milliseconds for one user at a time."""
    milliseconds = []
    for row in [0, *range(len(histories))]:  # the first warms up
        one = torch.from_numpy(histories.take(np.array([row])).padded(20))
        started = time.perf_counter()
        decode(one)
        milliseconds.append(1000 * (time.perf_counter() - started))
    milliseconds = milliseconds[1:]
    return {
        "users": len(milliseconds),
        "mean": statistics.fmean(milliseconds),
        "median": statistics.median(milliseconds),
        "p99": float(np.percentile(milliseconds, 99)),
    }


def table(result: dict[str, Any]) -> str:
    """The result as people read it."""
    tiger = result.get("tiger", {})
    lines = [f"{'':30}{'users/s':>10}{'one by one, median ms':>24}{'p99 ms':>10}"]
    lines += [
        _line(f"tiger, {name}", tiger[name]["users_per_second"], tiger[name])
        for name in ("ours", "transformers")
        if name in tiger
    ]
    if "cornac" in tiger:
        side = tiger["cornac"]
        lines.append(f"{'tiger, cornac':30}{side['users_per_second']:10.1f}{side['ratio']:>23.1f}x")
    lines += [
        _line(f"rqt, {name}", side["users_per_second_batch_256"], side)
        for name, side in result["rqt"].items()
    ]
    if tiger:
        lines.append(
            f"tiger: ratio {tiger['ratio']:.1f}, beam {BEAM}, batches of {BATCH}; "
            f"{tiger['equal_lists']:.1%} of the lists equal, scores within "
            f"{tiger['largest_score_difference']:.1e}"
        )
    return "\n".join([*lines, f"rqt: batches of 256; {told(result)}"])


def _line(label: str, rate: float, side: dict[str, Any]) -> str:
    single = side["one_by_one_ms"]
    return f"{label:30}{rate:10.1f}{single['median']:24.1f}{single['p99']:10.1f}"


if __name__ == "__main__":
    main()
