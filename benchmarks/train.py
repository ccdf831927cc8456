"""Training: `tiger` against the padded float32 loop of public code, and `rqt`; shares of GEMM peak.

Both sides of `tiger` train the paper's T5 on Instruments with LETTER's published identifiers,
batches of 256. The public way, written here from its description: every history padded to 20
items, T5's text vocabulary of 32,100 tokens kept before the codes, float32, transformers' own
loss on labels, AdamW. Ours is `Tiger.fit` on random users' sequences. They take turns, so that a
busy machine slows both.

Floating-point operations are those of matrix products, counted by PyTorch in a pass that is not
timed; peaks are those of a large product on this machine. Needs LETTER's Instruments folder below
the folder that LETTERREC_DATA names.

    LETTERREC_DATA=... python benchmarks/train.py [--steps 2] [--repeats 3] [--json]
"""

from __future__ import annotations

import json
import statistics
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5Config, T5ForConditionalGeneration

from letterrec.data import Histories
from letterrec.identifiers.identifiers import END_TOKEN, FIRST_CODE_TOKEN, PAD_TOKEN, Identifiers
from letterrec.recommenders.rqt.model import Rqt
from letterrec.recommenders.tiger.model import Tiger
from letterrec.training.devices import has_bfloat16
from letterrec.training.options import TrainingOptions
from sides import circumstances, command_line, letter_data, parsed, ratio, take_turns, told

BATCH = 256
MAX_HISTORY = 20
TEXT_TOKENS = 32_100  # of T5's own vocabulary
GEMM_SIZE = 4096


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("--users", type=int, default=1000, help="that tiger trains on, per turn")
    parser.add_argument("--rqt-users", type=int, default=10_240, help="40 batches")
    parser.add_argument("--steps", type=int, default=2, help="of the public way, per turn")
    arguments = parsed(parser)
    dataset, identifiers = letter_data("Instruments")
    histories = dataset.training()
    order = np.random.default_rng(0).permutation(len(histories))
    few, many = histories.take(order[: arguments.users]), histories.take(order)
    many = many.take(np.arange(min(arguments.rqt_users, len(many))))
    torch.manual_seed(0)
    tiger = Tiger(identifiers)
    rqt = Rqt(identifiers, torch.randn(dataset.n_items, 384))
    sides = {
        "tiger": partial(tiger_epoch, tiger, few),
        "public": partial(Public(identifiers, histories).train, arguments.steps),
        "rqt": partial(rqt_epoch, rqt, many),
    }
    Public(identifiers, histories).train(1)  # warm up
    rates = take_turns(sides, arguments.repeats)
    peaks = {
        "float32": gemm_peak(torch.float32),
        "bfloat16": gemm_peak(torch.bfloat16),
    }
    result: dict[str, Any] = {"benchmark": "train", "batch": BATCH, "gemm_flops_per_second": peaks}
    flops = {
        "tiger": counted(sides["tiger"]) / n_targets(few),
        "rqt": counted(sides["rqt"]) / n_targets(many),
    }
    for name, turns in rates.items():
        result[name] = {"samples_per_second": statistics.median(turns)}
    for name, per_sample in flops.items():
        speed = per_sample * result[name]["samples_per_second"]
        result[name] |= {
            "flops_per_sample": per_sample,
            "flops_per_second": speed,
            "share_of_peak": {dtype: speed / peak for dtype, peak in peaks.items()},
        }
    result["ratio"] = ratio(rates["tiger"], rates["public"])
    result |= circumstances("bfloat16 (ours)" if has_bfloat16() else "float32")
    print(json.dumps(result) if arguments.json else table(result))


def n_targets(histories: Histories) -> int:
    """Items that are predicted in one pass."""
    return int((histories.lengths - 1).clip(0).sum())


def tiger_epoch(tiger: Tiger, histories: Histories) -> float:
    """Samples per second of one pass."""
    log = tiger.fit(histories, TrainingOptions(epochs=1, batch_size=BATCH, learning_rate=1e-3))
    return n_targets(histories) / log.seconds


def rqt_epoch(rqt: Rqt, histories: Histories) -> float:
    """Predicted items per second of one pass."""
    log = rqt.fit(histories, TrainingOptions(epochs=1, batch_size=BATCH))
    return n_targets(histories) / log.seconds


class Public:
    """The loop of public code: everything padded, the text vocabulary kept, float32."""

    def __init__(self, identifiers: Identifiers, histories: Histories) -> None:
        self._codes = torch.from_numpy(identifiers.tokens) - FIRST_CODE_TOKEN + TEXT_TOKENS
        self._levels = identifiers.n_levels
        self._histories = histories
        settings: dict[str, Any] = {
            "vocab_size": TEXT_TOKENS + sum(identifiers.sizes),
            "d_model": 128,
            "d_kv": 64,
            "d_ff": 1024,
            "num_layers": 4,
            "num_heads": 6,
            "dropout_rate": 0.1,
            "pad_token_id": PAD_TOKEN,
            "eos_token_id": END_TOKEN,
            "decoder_start_token_id": PAD_TOKEN,
        }
        self._network = T5ForConditionalGeneration(T5Config(**settings))
        self._optimizer = torch.optim.AdamW(self._network.parameters(), lr=1e-3)
        first = np.repeat(histories.offsets[:-1], histories.lengths)
        target = np.arange(len(histories.items))
        self._start, self._target = first[target > first], target[target > first]
        self._draw = np.random.default_rng(0)

    def train(self, steps: int) -> float:
        """Samples per second over some steps."""
        self._network.train()
        started = time.perf_counter()
        for _ in range(steps):
            tokens, labels = self._batch()
            loss = self._network(
                input_ids=tokens, attention_mask=(tokens != PAD_TOKEN).long(), labels=labels
            ).loss
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
        return steps * BATCH / (time.perf_counter() - started)

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Tokens ``(256, 20 * levels + 1)`` of random samples, and labels ``(256, levels + 1)``."""
        rows = self._draw.integers(len(self._target), size=BATCH)
        start = np.maximum(self._start[rows], self._target[rows] - MAX_HISTORY)
        before = self._histories.slice(start, self._target[rows])
        tokens = torch.full((BATCH, MAX_HISTORY * self._levels + 1), PAD_TOKEN)
        labels = torch.full((BATCH, self._levels + 1), END_TOKEN)
        for row, history in enumerate(before):
            spelled = self._codes[torch.from_numpy(history).long()].flatten()
            tokens[row, : len(spelled)] = spelled
            tokens[row, len(spelled)] = END_TOKEN
        labels[:, :-1] = self._codes[torch.from_numpy(self._histories.items[self._target[rows]])]
        return tokens, labels


def counted(turn: partial[float]) -> float:
    """Floating-point operations of the matrix products of one turn, counted on its one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with FlopCounterMode(display=False) as counter:
        turn()
    torch.set_num_threads(threads)
    return float(counter.get_total_flops())


def gemm_peak(dtype: torch.dtype) -> float:
    """Floating-point operations per second of the fastest of some large matrix products."""
    left, right = (torch.randn(GEMM_SIZE, GEMM_SIZE).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - started)
    return float(2 * GEMM_SIZE**3 / min(seconds))


def table(result: dict[str, Any]) -> str:
    """The result as people read it."""
    peaks = result["gemm_flops_per_second"]
    lines = [f"{'':10}{'samples/s':>12}{'GFLOP/s':>10}{'of float32 peak':>18}{'of bfloat16':>14}"]
    for name in ("tiger", "rqt"):
        side = result[name]
        share = side["share_of_peak"]
        lines.append(
            f"{name:10}{side['samples_per_second']:12.0f}{side['flops_per_second'] / 1e9:10.1f}"
            f"{share['float32']:18.1%}{share['bfloat16']:14.1%}"
        )
    lines += [
        f"{'public':10}{result['public']['samples_per_second']:12.1f}",
        f"tiger: ratio {result['ratio']:.1f}, batches of {BATCH}",
        f"GEMM peak in GFLOP/s: float32 {peaks['float32'] / 1e9:.0f}, "
        f"bfloat16 {peaks['bfloat16'] / 1e9:.0f}",
        told(result),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
