"""What `nn` does itself against PyTorch's and transformers' own: T5, dropout, threads that train.

`tiger` with the T5 of `nn.t5` and, in the same batches, loop, threads and beam search, with that of
transformers (scaled dot product attention, the same weights); `tiger` and `rqt` with the masks of
`nn.dropout` and with PyTorch's; `tiger` trained by threads that share a batch, and without. They
take turns, so that a busy machine slows all. Needs LETTER's Instruments folder below the folder
that LETTERREC_DATA names.

    LETTERREC_DATA=... python benchmarks/networks.py [--threads 2] [--repeats 3] [--json]
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import T5ForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from letterrec.decoding.beam_search import search
from letterrec.decoding.trie import Trie
from letterrec.identifiers.identifiers import PAD_TOKEN, Identifiers
from letterrec.nn.dropout import Dropout
from letterrec.recommenders.rqt.model import Rqt
from letterrec.recommenders.tiger import beams
from letterrec.recommenders.tiger.model import Tiger
from letterrec.training import threads
from letterrec.training.devices import has_bfloat16
from sides import Turn, circumstances, command_line, letter_data, parsed, ratio, take_turns, told
from train import rqt_epoch, tiger_epoch

BEAM = 20


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("--users", type=int, default=300, help="that tiger trains on, per turn")
    parser.add_argument("--rqt-users", type=int, default=5120, help="that rqt trains on, per turn")
    parser.add_argument("--histories", type=int, default=256, help="that are decoded, per turn")
    arguments = parsed(parser)
    dataset, identifiers = letter_data("Instruments")
    histories = dataset.training()
    order = np.random.default_rng(0).permutation(len(histories))
    few = histories.take(order[: arguments.users])
    many = histories.take(order[: arguments.rqt_users])
    cases = dataset.held_out("test")
    cases = cases.take(np.random.default_rng(0).permutation(len(cases))[: arguments.histories])
    queries = torch.split(torch.from_numpy(cases.histories.padded(20)), 64)
    torch.manual_seed(0)
    ours_t5, peer = Tiger(identifiers), TransformersTiger(identifiers)
    rqt = Rqt(identifiers, torch.randn(dataset.n_items, 384))
    trie = Trie.build(identifiers)
    train_tiger, train_rqt = partial(tiger_epoch, ours_t5, few), partial(rqt_epoch, rqt, many)
    pairs: dict[str, tuple[Turn, Turn]] = {
        "t5, training": (train_tiger, partial(tiger_epoch, peer, few)),
        "t5, beam search": (
            partial(decoded, ours_t5, trie, queries),
            partial(decoded, peer, trie, queries),
        ),
        "dropout, tiger": (train_tiger, within(torch_dropout, train_tiger)),
        "dropout, rqt": (train_rqt, within(torch_dropout, train_rqt)),
    }
    if torch.get_num_threads() > 1:
        pairs["threads, tiger"] = (train_tiger, within(one_member, train_tiger))
    found: dict[str, dict[str, float | list[float]]] = {}
    for name, (ours, theirs) in pairs.items():
        rates = take_turns({"ours": ours, "theirs": theirs}, arguments.repeats)
        found[name] = {**rates, "ratio": ratio(rates["ours"], rates["theirs"])}
    result = {"benchmark": "networks", "beam": BEAM, "found": found}
    result |= circumstances("bfloat16" if has_bfloat16() else "float32")
    print(json.dumps(result) if arguments.json else table(result, found))


def decoded(model: Tiger, trie: Trie, queries: Sequence[Tensor]) -> float:
    """Histories per second."""
    started = time.perf_counter()
    for histories in queries:
        search(model.encode(histories), trie, beam=BEAM, k=10)
    return sum(map(len, queries)) / (time.perf_counter() - started)


def within(context: Callable[[], Iterator[None]], turn: Turn) -> Turn:
    """A turn inside a context."""

    def run() -> float:
        with contextmanager(context)():
            return turn()

    return run


def torch_dropout() -> Iterator[None]:
    """PyTorch's own dropout and attention in place of those of `nn.dropout`."""

    def dropped(self: Dropout, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training)

    def dropped_relu(self: Dropout, x: Tensor) -> Tensor:
        return F.dropout(F.relu(x, inplace=True), self.p, self.training)

    def attention(
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        dropout: Dropout,
        *,
        mask: Tensor | None = None,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> Tensor:
        p = dropout.p if dropout.is_on else 0.0
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, dropout_p=p, is_causal=is_causal, scale=scale
        )

    with (
        patch.object(Dropout, "forward", dropped),
        patch.object(Dropout, "after_relu", dropped_relu),
        patch("letterrec.nn.t5.attention", attention),
        patch("letterrec.nn.causal.attention", attention),
    ):
        yield


def one_member() -> Iterator[None]:
    """No threads that share a batch: PyTorch's work on one operator after the other."""
    with patch.object(threads, "_ROWS", 1 << 60):
        yield


class TransformersTiger(Tiger):
    """`tiger` around the T5 of transformers."""

    def __init__(self, identifiers: Identifiers) -> None:
        super().__init__(identifiers)
        self.network: T5ForConditionalGeneration = self.to_transformers()
        del self.shared, self.encoder, self.decoder

    def logits(self, history_tokens: Tensor, target_tokens: Tensor) -> Tensor:
        """As `Tiger.logits`."""
        given = F.pad(target_tokens[:, :-1], (1, 0), value=PAD_TOKEN)
        found: Tensor = self.network(
            input_ids=history_tokens,
            attention_mask=(history_tokens != PAD_TOKEN).long(),
            decoder_input_ids=given,
            use_cache=False,
        ).logits
        return found

    def encode(
        self,
        histories: Tensor,
        instructions: Sequence[str | None] | None = None,
        behaviours: Tensor | None = None,
    ) -> beams.Beams:
        """As `Tiger.encode`, each group of histories decoded by a `Group`."""
        with patch.object(beams, "_Group", Group):
            return super().encode(histories, instructions, behaviours)


class Group:
    """Histories that are decoded together."""

    def __init__(
        self, model: TransformersTiger, tokens: Tensor, behaviours: Tensor | None = None
    ) -> None:
        assert behaviours is None  # one kind of interaction
        self._model, self._level = model, 0
        self._mask = (tokens != PAD_TOKEN).long()
        read = model.network.encoder(input_ids=tokens, attention_mask=self._mask)
        self._read: Tensor = read.last_hidden_state
        self._cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self._step(tokens.new_full((len(tokens), 1), PAD_TOKEN))

    def log_probs(self) -> Tensor:
        """float32 ``(b, beams, codes of this level)``."""
        first = self._model.level_offsets[self._level]
        codes = self._logits[..., first : first + self._model.sizes[self._level]]
        return codes - self._logits.logsumexp(-1, keepdim=True)

    def advance(self, parents: Tensor, codes: Tensor) -> None:
        """Append ``codes`` to the beams ``parents``, both int64 ``(b, beams)``."""
        first = torch.arange(len(parents))[:, None] * self._logits.shape[1]
        kept = (first + parents).flatten()
        self._cache.reorder_cache(kept)  # type: ignore[arg-type]
        tokens = codes + self._model.level_offsets[self._level]
        self._level += 1
        self._step(tokens)

    @torch.no_grad()
    def _step(self, tokens: Tensor) -> None:
        beams = tokens.shape[1]
        read = self._read.repeat_interleave(beams, 0)
        self._logits: Tensor = (
            self._model.network(
                encoder_outputs=BaseModelOutput(last_hidden_state=read),
                attention_mask=self._mask.repeat_interleave(beams, 0),
                decoder_input_ids=tokens.reshape(-1, 1),
                past_key_values=self._cache,
                use_cache=True,
            )
            .logits[:, -1]
            .view(*tokens.shape, -1)
            .float()
        )


def table(result: dict[str, object], found: dict[str, dict[str, float | list[float]]]) -> str:
    """The result as people read it."""
    lines = [f"{name:20}ours by theirs {side['ratio']:6.2f}" for name, side in found.items()]
    return "\n".join([*lines, told(result)])


if __name__ == "__main__":
    main()
