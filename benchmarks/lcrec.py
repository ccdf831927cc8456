"""Constrained beam search of `lcrec`: ours against transformers' `generate` with the full trie.

Both sides decode the same test histories of Beauty with the same weights (SmolLM2-135M, LoRA of
random values merged for the other side, LETTER's published identifiers); they take turns, so that a
busy machine slows both, and the lists have to be equal. Needs LETTER's Beauty folder below the
folder that LETTERREC_DATA names.

    LETTERREC_DATA=... python benchmarks/lcrec.py [--users 8] [--repeats 3] [--json]
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from letterrec.decoding.beam_search import search
from letterrec.decoding.trie import Trie
from letterrec.identifiers.identifiers import Identifiers
from letterrec.recommenders.lcrec.export import merged
from letterrec.recommenders.lcrec.model import LcRec
from letterrec.recommenders.lcrec.tasks import history
from sides import (
    circumstances,
    command_line,
    compare,
    decode_in_turns,
    legal_tokens,
    letter_data,
    parsed,
    told,
)

BEAM = 20


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    arguments = parsed(parser)
    dataset, identifiers = letter_data("Beauty")
    recommender = with_random_lora(identifiers)
    trie = Trie.build(identifiers, dataset.popularity)
    peer = Peer(recommender, identifiers)
    cases = dataset.held_out("test").histories
    chosen = np.random.default_rng(0).permutation(len(cases))[: arguments.users]
    chosen = chosen[np.argsort(cases.lengths[chosen])]
    rows = torch.from_numpy(cases.take(chosen).padded(recommender.max_history))

    def ours(batch: Tensor) -> tuple[Tensor, Tensor]:
        return search(recommender.encode(batch), trie, beam=BEAM, k=BEAM)

    ours(rows[:1]), peer(rows[:1])  # warm up
    batches = torch.split(rows, arguments.batch)
    sides, lists = decode_in_turns(ours, peer, batches, arguments.repeats)
    result: dict[str, Any] = {
        "benchmark": "lcrec",
        "beam": BEAM,
        "batch": arguments.batch,
        "users": len(rows),
        "history_items": float((rows >= 0).sum(1).float().mean()),
    }
    result |= compare(lists, peer.spelled) | sides | circumstances()
    print(json.dumps(result) if arguments.json else table(result))


def with_random_lora(identifiers: Identifiers) -> LcRec:
    """A recommender whose LoRA says something, as after training."""
    torch.manual_seed(0)
    recommender = LcRec(identifiers, dtype="float32").eval()
    with torch.no_grad():
        for name, parameter in recommender.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.01)
    return recommender


class Peer:
    """transformers' `generate` on the merged model, told the legal tokens by a callback."""

    def __init__(self, recommender: LcRec, identifiers: Identifiers) -> None:
        self._network, self._tokenizer = merged(recommender)
        self._prompts = recommender.prompts
        self._levels = identifiers.n_levels
        texts = [identifiers.spelled(item) for item in range(identifiers.n_items)]
        self.spelled = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        self._texts = texts
        self._tokenizer.padding_side = "left"
        self._legal = legal_tokens(self.spelled)

    def __call__(self, histories: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``(batch, beam, levels)`` of the best identifiers, and their scores."""
        prompts = [
            "".join(
                part.text or "".join(self._texts[i] for i in part.items) for part in history(items)
            )
            for items in ([i for i in row if i >= 0] for row in histories.tolist())
        ]
        given = self._tokenizer(prompts, return_tensors="pt", padding=True)
        start = given["input_ids"].shape[1]
        out = self._network.generate(
            **given,
            prefix_allowed_tokens_fn=lambda _, tokens: self._legal[tuple(tokens[start:].tolist())],
            renormalize_logits=True,
            num_beams=BEAM,
            num_return_sequences=BEAM,
            max_new_tokens=self._levels,
            do_sample=False,
            length_penalty=0.0,
            return_dict_in_generate=True,
            output_scores=True,
        )
        batch = len(histories)
        return (
            out.sequences[:, start:].view(batch, BEAM, self._levels),
            out.sequences_scores.view(batch, BEAM),
        )


def table(result: dict[str, Any]) -> str:
    """The result as people read it."""
    lines = [f"{'':14}{'users/s':>10}"]
    lines += [
        f"{name:14}{result[name]['users_per_second']:10.2f}" for name in ("ours", "transformers")
    ]
    lines += [
        f"ratio {result['ratio']:.1f}, beam {BEAM}, batches of {result['batch']}, "
        f"{result['users']} users, {result['history_items']:.1f} items each on average; "
        f"{result['equal_lists']:.1%} of the lists equal, scores within "
        f"{result['largest_score_difference']:.1e}",
        told(result),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
