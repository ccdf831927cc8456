"""The network of lcrec: a causal language model with LoRA adapters, and a row for every code.

Codes are new tokens. Their embedding rows stand in a table beside the model's vocabulary. These
rows and the adapters are what is trained and what is kept. Where items are called by titles, the
codes are tokens that the model has, and the adapters alone are trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from letterrec.identifiers.identifiers import FIRST_CODE_TOKEN, Identifiers
from letterrec.recommenders.lcrec import llm
from letterrec.recommenders.lcrec.lora import code_rows, keep_only_trained, shard_frozen, with_lora
from letterrec.training import distributed
from letterrec.training.devices import has_bfloat16

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedTokenizerBase


class Network(nn.Module):
    """Reads tokens of text and codes, and scores the next code.

    Args:
        identifiers: the code sequence of every item.
        model: the language model, as `llm.load` takes it.
        dtype: of the model's own weights; ``"auto"`` is bfloat16 where that is fast, else float32.
        rank: of the LoRA adapters; see `lora.with_lora`, also for ``alpha`` and ``dropout``.
        alpha: scale of the adapters.
        dropout: of the adapters.
        train_codes: whether the codes' rows of the embedding and the output layer are trained.
        gradient_checkpointing: save memory by computing activations again in the backward pass.

    Raises:
        SettingsError: the model cannot be loaded.
        MissingExtra: peft is not installed.
    """

    item_codes: Tensor  # int64 (n_items, n_levels), -1 after a shorter identifier
    offsets: Tensor  # int64 (n_levels,): the first code of each level among all codes
    code_tokens: Tensor  # int64 (n_codes,)
    word_rows: Tensor | None  # float (n_codes, d): output rows of the words of titles

    def __init__(
        self,
        identifiers: Identifiers,
        *,
        model: str,
        dtype: Literal["auto", "float32", "bfloat16"],
        rank: int,
        alpha: int,
        dropout: float,
        train_codes: bool,
        gradient_checkpointing: bool,
    ) -> None:
        super().__init__()
        self.model = model
        self.sizes = identifiers.sizes
        half = has_bfloat16() if dtype == "auto" else dtype == "bfloat16"
        base = llm.load(model, torch.bfloat16 if half else torch.float32)
        self.text_tokens: PreTrainedTokenizerBase = base.tokenizer
        self.network = with_lora(base.copied(), rank, alpha, dropout)
        if gradient_checkpointing:
            self.network.activation_checkpointing_enable({"use_reentrant": False})
        if distributed.count() > 1:
            llm.load.cache_clear()  # the whole model goes when its shards are made
            shard_frozen(self.network)
        table = base.network.get_input_embeddings().weight
        output = base.network.get_output_embeddings().weight
        self.first_code = len(table)  # below it are the model's own tokens
        self.code_input = self.own_output = None
        word_rows = None
        if identifiers.words is None:
            n_codes = sum(self.sizes)
            tokens = list(range(self.first_code, self.first_code + n_codes))
            self.code_input = code_rows(n_codes, table, train_codes)
            if not self.network.config.tie_word_embeddings:
                self.own_output = code_rows(n_codes, output, train_codes)
        else:
            vocabulary = base.tokenizer.get_vocab()
            tokens = [vocabulary[word] for word in identifiers.words]
            word_rows = output.detach()[tokens]
        self.register_buffer("word_rows", word_rows, persistent=False)
        self.register_buffer("code_tokens", torch.tensor(tokens), persistent=False)
        offsets = torch.tensor(identifiers.level_offsets) - FIRST_CODE_TOKEN
        self.register_buffer("offsets", offsets, persistent=False)
        keep_only_trained(self)
        self.set_items(identifiers)

    def set_items(self, identifiers: Identifiers) -> None:
        """Spell items by these identifiers from now on."""
        codes = torch.from_numpy(identifiers.codes).to(self.offsets.device, torch.int64)
        self.register_buffer("item_codes", codes, persistent=False)

    @property
    def output_rows(self) -> Tensor:
        """float ``(n_codes, d)``: the codes' rows of the output layer, level after level.

        Where the model ties output and embedding, these are the rows of the embedding. Where items
        are called by titles, they are the model's own rows of the words.
        """
        if self.word_rows is not None:
            return self.word_rows
        rows = self.code_input if self.own_output is None else self.own_output
        assert rows is not None
        return rows.weight

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens of text and codes, int64 ``(...)`` -> the model's inputs, float ``(..., d)``."""
        codes = tokens - self.first_code
        text: Tensor = self.network.get_input_embeddings()(tokens.masked_fill(codes >= 0, 0))
        if self.code_input is None:
            return text
        rows = self.code_input(codes.clamp(min=0)).to(text.dtype)
        return torch.where((codes >= 0)[..., None], rows, text)

    def read(
        self,
        tokens: Tensor,
        *,
        cache: DynamicCache | None = None,
        visible: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """The model's last hidden states.

        Args:
            tokens: int64 ``(batch, s)``, left-aligned: causal attention does not reach the padding
                behind them.
            cache: keys and values of earlier tokens, to which those of these tokens are added;
                None where these tokens are all.
            visible: bool ``(batch, 1, s, cached + s)``: what each token attends to; None:
                itself and all tokens before it.
            positions: int64 ``(batch, s)`` positions of the tokens; None: 0, 1, 2 and so on.

        Returns:
            float ``(batch, s, d)``.
        """
        states: Tensor = self.network.get_decoder()(
            inputs_embeds=self.embed(tokens),
            use_cache=cache is not None,
            cache=cache,
            attention_mask=visible,
            position_ids=positions,
        ).last_hidden_state
        return states

    def code_logits(self, hidden: Tensor, level: int) -> Tensor:
        """States, float ``(..., d)`` -> logits of a level's codes, float32 ``(..., n_codes)``."""
        start = int(self.offsets[level])
        weight = self.output_rows[start : start + self.sizes[level]]
        return F.linear(hidden.float(), weight.float()).float()
