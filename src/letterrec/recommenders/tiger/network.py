"""The network of tiger: T5 over the tokens of codes, and of behaviours where there are several.

`nn.t5` has its layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, nn

from letterrec.data.targets import predicted
from letterrec.identifiers.identifiers import END_TOKEN, PAD_TOKEN, Identifiers
from letterrec.nn.t5 import Stack, additive

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration


class Network(nn.Module):
    """An encoder over the tokens of a history, a decoder over those of the next item.

    The parameters have the names of transformers' `T5ForConditionalGeneration`; `to_transformers`
    makes one with the same weights.

    Args:
        identifiers: the code sequence of every item.
        dim: width of states and embeddings.
        layers: of the encoder, and of the decoder.
        heads: attention heads.
        head_dim: width of a head.
        feed_forward: inner width of the feed-forward layers.
        dropout: everywhere that T5 has it.
        n_behaviours: kinds of interactions; of more than one, each has a token behind all others.
        targets: rows of the behaviours that are to be predicted; empty: all.
    """

    def __init__(
        self,
        identifiers: Identifiers,
        *,
        dim: int,
        layers: int,
        heads: int,
        head_dim: int,
        feed_forward: int,
        dropout: float,
        n_behaviours: int,
        targets: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.n_behaviours = n_behaviours
        self.targets = predicted(targets, n_behaviours)
        self.first_behaviour = identifiers.n_tokens
        self.sizes = identifiers.sizes
        self.level_offsets = identifiers.level_offsets
        n_tokens = identifiers.n_tokens + (n_behaviours if n_behaviours > 1 else 0)
        self.shared = nn.Embedding(n_tokens, dim)  # tied with the output, N(0, 1)
        self.encoder = Stack(dim, layers, heads, head_dim, feed_forward, dropout, cross=False)
        self.decoder = Stack(dim, layers, heads, head_dim, feed_forward, dropout, cross=True)

    def logits(self, history_tokens: Tensor, target_tokens: Tensor) -> Tensor:
        """float ``(batch, n_levels, n_tokens)``: at each target position, a score for each token,
        given the target tokens before it.
        """
        present = history_tokens != PAD_TOKEN
        mask = None if bool(present.all()) else additive(present)
        source = self.encoder(self.shared(history_tokens), mask)
        given = F.pad(target_tokens[:, :-1], (1, 0), value=PAD_TOKEN)  # PAD starts every target
        state = self.decoder(self.shared(given), None, source, mask)
        return self.tokens_of(state)

    def tokens_of(self, state: Tensor) -> Tensor:
        """Logits over all tokens: ``(..., d)`` -> ``(..., n_tokens)``."""
        return F.linear(state * self.shared.embedding_dim**-0.5, self.shared.weight)

    def to_transformers(self) -> T5ForConditionalGeneration:
        """transformers' `T5ForConditionalGeneration` with the same weights, in eval mode."""
        from transformers import T5Config, T5ForConditionalGeneration

        block = self.encoder.blocks[0]
        attention = block.own.SelfAttention
        settings: dict[str, Any] = {
            "vocab_size": self.shared.num_embeddings,
            "d_model": self.shared.embedding_dim,
            "d_kv": attention.head_dim,
            "d_ff": block.feed_forward.DenseReluDense.wi.out_features,
            "num_layers": len(self.encoder.block),
            "num_heads": attention.heads,
            "dropout_rate": attention.dropout.p,
            "pad_token_id": PAD_TOKEN,
            "eos_token_id": END_TOKEN,
            "decoder_start_token_id": PAD_TOKEN,
        }
        weights = self.state_dict()
        for tied in ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head"):
            weights[f"{tied}.weight"] = self.shared.weight
        network = T5ForConditionalGeneration(T5Config(**settings))
        network.load_state_dict(weights, strict=True)
        network.train(False)
        return network
