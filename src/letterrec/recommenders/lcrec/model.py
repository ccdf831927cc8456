"""LETTER-LC-Rec: a causal language model that reads and writes item identifiers.

The codes are tokens of their own, beside the model's vocabulary; what is trained is LoRA and the
codes' rows, and only that is kept. Where items are called by titles, the codes are the model's own
tokens, and LoRA alone is trained. Where codes come next, only codes of the level have logits, and
the loss is over those that are legal; where text comes next, the whole vocabulary of the model.

`llm` finds the model, `tasks` has the wording of prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from letterrec.data.sequences import Histories
from letterrec.decoding.trie import Trie
from letterrec.errors import DataError
from letterrec.identifiers.identifiers import FIRST_CODE_TOKEN, Identifiers
from letterrec.recommenders.base import Features, Recommender, check_sizes, check_trainable
from letterrec.recommenders.lcrec import llm
from letterrec.recommenders.lcrec.export import export as write_merged
from letterrec.recommenders.lcrec.lora import (
    attention_for_training,
    code_rows,
    keep_only_trained,
    shard_frozen,
    with_lora,
)
from letterrec.recommenders.lcrec.prompts import Prompts
from letterrec.recommenders.lcrec.tasks import TASKS, Case, history
from letterrec.recommenders.losses import ranking_guided_loss
from letterrec.training import distributed
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.devices import has_bfloat16
from letterrec.training.loop import Rows, batches_by_length, train
from letterrec.training.options import TrainingOptions

_STEPS_PER_EPOCH = 10  # at least: a small data set is passed several times in an epoch


class LcRec(Recommender):
    """A language model with LoRA and tokens for the codes of identifiers.

    Args:
        identifiers: the code sequence of every item.
        content: taken for the sake of the seam; this recommender reads codes and words.
        titles: one per item, for the tasks that read or write words.
        texts: one per item, title first; the same.
        preferences: one per user, what the user likes, for the task that writes it.
        max_history: latest items of a history that are read.
        model: what `llm.load` takes.
        dtype: of the model's own weights; ``"auto"`` is bfloat16 where that is fast.
        rank: of LoRA, on all linear layers inside the model.
        alpha: of LoRA: its product counts ``alpha / rank`` times.
        dropout: of LoRA.
        train_codes: train the codes' rows in the embedding and in the output, not LoRA alone;
            titles have none.
        gradient_checkpointing: compute activations twice to hold fewer of them.
        tasks: task -> how often it is drawn, relative to the others; see `tasks.TASKS`; None is
            ``seqrec`` alone.
        temperature: tau of the ranking-guided loss (eq. 6).

    Raises:
        SettingsError: the model cannot be loaded.
        DataError: a task needs words or preferences and there are none.
        MissingExtra: peft is not installed.
    """

    prefixes: Tensor
    item_codes: Tensor
    offsets: Tensor
    code_tokens: Tensor
    word_rows: Tensor | None

    def __init__(
        self,
        identifiers: Identifiers,
        content: Tensor | None = None,
        *,
        titles: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        preferences: Sequence[str] | None = None,
        max_history: int = 20,
        model: str = "smollm2",
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        rank: int = 8,
        alpha: int = 16,
        dropout: float = 0.05,
        train_codes: bool = True,
        gradient_checkpointing: bool = False,
        tasks: Mapping[str, float] | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.max_history = max_history
        self.temperature = temperature
        self.model = model
        self.sizes = identifiers.sizes
        self.tasks = {k: w for k, w in (tasks or {"seqrec": 1.0}).items() if w > 0}
        self.titles, self.texts, self.preferences = titles, texts, preferences
        refuse_tasks_without_text(self.tasks, texts, preferences)
        half = has_bfloat16() if dtype == "auto" else dtype == "bfloat16"
        base = llm.load(model, torch.bfloat16 if half else torch.float32)
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
            tokens = base.tokenizer.convert_tokens_to_ids(list(identifiers.words))
            word_rows = output.detach()[tokens]
        self.prompts = Prompts(base.tokenizer, tokens)
        self.register_buffer("word_rows", word_rows, persistent=False)
        self.register_buffer("code_tokens", torch.tensor(tokens), persistent=False)
        offsets = torch.tensor(identifiers.level_offsets) - FIRST_CODE_TOKEN
        self.register_buffer("offsets", offsets, persistent=False)
        keep_only_trained(self)
        self.set_catalogue(identifiers)

    @classmethod
    def build(cls, identifiers: Identifiers, features: Features, **settings: Any) -> Self:
        """A recommender for a catalogue, with what its tasks read or write in words."""
        return cls(
            identifiers,
            titles=features.titles,
            texts=features.texts,
            preferences=features.preferences,
            **settings,
        )

    def export(self, folder: Path) -> None:
        """Write the model with all that was trained in its own weights; see `lcrec.export`."""
        write_merged(self, folder)

    @property
    def output_rows(self) -> Tensor:
        """The codes' rows in the output, level after level: those of the embedding where the model
        ties its own. Those of all words where items are called by titles.
        """
        if self.word_rows is not None:
            return self.word_rows
        rows = self.code_input if self.own_output is None else self.own_output
        assert rows is not None
        return rows.weight

    @property
    def follows_instructions(self) -> bool:
        """Whether wishes in words were trained."""
        return "query" in self.tasks

    def set_catalogue(self, identifiers: Identifiers, content: Tensor | None = None) -> None:
        """Go on with the same items and possibly more behind them.

        Raises:
            IdentifierError: the levels have other sizes than those trained on.
        """
        check_sizes(identifiers, self.sizes)
        device = self.offsets.device
        self.trie = Trie.build(identifiers).to(device)
        self.register_buffer("prefixes", self.trie.prefixes(), persistent=False)
        codes = torch.from_numpy(identifiers.codes).to(device, torch.int64)
        self.register_buffer("item_codes", codes, persistent=False)
        self.prompts.set_catalogue(identifiers)

    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Train on the tasks, drawn anew for every sequence in every epoch.

        Args:
            histories: sequences of item rows, one per user.
            options: of the training.
            validate: metrics of the recommender as it is.

        Raises:
            DataError: no sequence has two items.
        """
        check_trainable(histories)
        windows = histories.windows(self.max_history + 1)
        user_of = np.repeat(np.arange(len(histories)), histories.n_windows(self.max_history + 1))
        likes = self.preferences or [""] * len(histories)
        if len(likes) != len(histories):
            raise DataError(
                f"{len(histories)} histories for the preferences of {len(likes)} users: expected "
                "one history each"
            )
        names = list(self.tasks)
        shares = np.array([self.tasks[n] for n in names], dtype=np.float64)
        shares /= shares.sum()
        draws = _Draws(options.seed)

        def collate(rows: Rows) -> tuple[Tensor, ...]:
            n_items = len(self.prefixes)
            examples = []
            for row in rows:
                task = TASKS[names[int(draws.random.choice(len(names), p=shares))]]
                window = windows[int(row)].tolist()
                liked = likes[user_of[row]]
                case = Case(window, n_items, self.titles, self.texts, draws.random, liked)
                examples.append(self.prompts.example(task(case)))
            return self.prompts.batch(examples)

        with attention_for_training(self.offsets.device):
            return train(
                self,
                batches=lambda epoch: batches_by_length(
                    windows.lengths, options, epoch, at_least=_STEPS_PER_EPOCH
                ),
                collate=collate,
                before_epoch=draws.begin,
                stateful=draws,
                options=options,
                validate=validate,
                label="recommender (lcrec)",
            )

    def forward(
        self, tokens: Tensor, items: Tensor, levels: Tensor, is_text: Tensor
    ) -> dict[str, Tensor]:
        """The ranking-guided loss (eq. 6), as the mean over all wanted tokens.

        Args:
            tokens: int64 ``(batch, s)`` prompts with answers, left-aligned.
            items: int64 ``(batch, s)``: at the codes that are wanted, the item they belong to;
                elsewhere -1.
            levels: int64 ``(batch, s)``: at the codes that are wanted, their level.
            is_text: bool ``(batch, s)``: where text is wanted.
        """
        hidden = self.read(tokens)[:, :-1]  # (batch, s - 1, d)
        tokens, items, levels, is_text = (t[:, 1:] for t in (tokens, items, levels, is_text))
        at_code = items >= 0
        loss = self._code_loss(hidden[at_code], items[at_code], levels[at_code])
        if bool(is_text.any()):
            logits = self.network.get_output_embeddings()(hidden[is_text])
            text = ranking_guided_loss(logits.float(), tokens[is_text], self.temperature)
            loss = loss + text * is_text.sum()
        return {"loss": loss / (at_code.sum() + is_text.sum())}

    def _code_loss(self, hidden: Tensor, items: Tensor, levels: Tensor) -> Tensor:
        """Summed over codes: states ``(n, d)``, items and levels ``(n,)``."""
        loss = hidden.new_zeros((), dtype=torch.float32)
        for level, size in enumerate(self.sizes):
            at = (levels == level).nonzero()[:, 0]
            nodes = self.prefixes[items[at], level]
            # Where a prefix leaves no choice there is nothing to learn.
            open_ = self.trie.n_children(level, nodes) > 1
            at, nodes = at[open_], nodes[open_]
            if len(at):
                legal = self.trie.legal(level, nodes, size)
                logits = self.code_logits(hidden[at], level).masked_fill(~legal, -torch.inf)
                targets = self.item_codes[items[at], level]
                loss = loss + len(at) * ranking_guided_loss(logits, targets, self.temperature)
        return loss

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens ``(...)``, of text and of codes -> inputs of the model ``(..., d)``."""
        codes = tokens - self.first_code
        text = cast(Tensor, self.network.get_input_embeddings()(tokens.masked_fill(codes >= 0, 0)))
        if self.code_input is None:
            return text
        rows = self.code_input(codes.clamp(min=0)).to(text.dtype)
        return torch.where((codes >= 0)[..., None], rows, text)

    def read(self, tokens: Tensor, **keywords: Any) -> Tensor:
        """Last hidden states ``(batch, s, d)`` of tokens ``(batch, s)``.

        Padding stands behind the tokens, where causal attention does not see it.
        """
        settings = {"use_cache": False, **keywords}
        body = self.network.get_decoder()
        return cast(Tensor, body(inputs_embeds=self.embed(tokens), **settings).last_hidden_state)

    def code_logits(self, hidden: Tensor, level: int) -> Tensor:
        """States ``(..., d)`` -> float32 logits ``(..., codes of the level)``."""
        start = int(self.offsets[level])
        weight = self.output_rows[start : start + self.sizes[level]]
        return F.linear(hidden.float(), weight.float()).float()

    @torch.no_grad()
    def encode(self, histories: Tensor, instructions: Sequence[str | None] | None = None) -> Beams:
        """Read each prompt once, for `decoding.search`.

        Args:
            histories: int64 ``(batch, longest)`` item rows, left-aligned, -1 padded; ``longest``
                at most ``max_history``.
            instructions: per history what is wanted, in words; None where nothing is said.
        """
        self.eval()
        wishes = instructions or [None] * len(histories)
        examples = []
        for row, wish in zip(histories.tolist(), wishes, strict=True):
            items = [item for item in row if item >= 0]
            examples.append(self.prompts.example(history(items, wish)))
        tokens, *_ = self.prompts.batch(examples)
        lengths = torch.tensor([len(example.tokens) for example in examples])
        device = histories.device
        return Beams(self, tokens.to(device), lengths.to(device))


class _Draws:
    """The random state that draws tasks and their words, set anew at each epoch."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.random = np.random.default_rng(seed)

    def begin(self, epoch: int) -> None:
        self.random = np.random.default_rng([self._seed, epoch, distributed.rank()])

    def state_dict(self) -> dict[str, Any]:
        return dict(self.random.bit_generator.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.random.bit_generator.state = state


class Beams:
    """A `decoding.beam.Decoder`: prompts read once, and the state of their beams.

    The beams of a prompt stand side by side as further positions of one sequence. A mask lets each
    attend to the prompt and to its own ancestors, so that the keys and values of a prompt serve
    all of its beams, and those of a code all of its descendants, where they were made.
    """

    over_legal = True

    @torch.no_grad()
    def __init__(self, model: LcRec, tokens: Tensor, lengths: Tensor) -> None:
        from transformers import DynamicCache

        self._model, self._lengths = model, lengths
        self._level = 0
        self._cache = DynamicCache()
        states = model.read(tokens, use_cache=True, cache=self._cache)
        row = torch.arange(len(tokens), device=tokens.device)
        self._state = states[row, lengths - 1][:, None]  # (batch, beams, d)
        place = torch.arange(tokens.shape[1], device=tokens.device)
        self._visible = (place < lengths[:, None])[:, None]  # (batch, beams, places)

    @torch.no_grad()
    def log_probs(self, is_open: Tensor | None = None) -> Tensor:
        """float32 ``(batch, beams, codes of this level)``: logits of the next codes."""
        return self._model.code_logits(self._state, self._level)

    @torch.no_grad()
    def advance(self, parents: Tensor, codes: Tensor) -> None:
        """Append ``codes`` to the beams ``parents``, both int64 ``(batch, beams)``."""
        batch, beams = codes.shape
        ancestors = self._visible.shape[2]
        own = torch.eye(beams, dtype=torch.bool, device=codes.device).expand(batch, -1, -1)
        inherited = self._visible.gather(1, parents[..., None].expand(-1, -1, ancestors))
        self._visible = torch.cat([inherited, own], 2)  # (batch, beams, places + beams)
        model = self._model
        tokens = model.code_tokens[model.offsets[self._level] + codes]
        self._state = model.read(
            tokens,
            use_cache=True,
            cache=self._cache,
            attention_mask=self._visible[:, None],
            position_ids=(self._lengths + self._level)[:, None].expand(-1, beams),
        )
        self._level += 1


def refuse_tasks_without_text(
    tasks: Mapping[str, float], texts: Sequence[str] | None, preferences: Sequence[str] | None
) -> None:
    """Say that tasks need words where there are none.

    Raises:
        DataError: a task of a weight above 0 reads or writes words of items and ``texts`` is None,
            or those of users and ``preferences`` is None.
    """
    if tasks.get("preference") and preferences is None:
        raise DataError(
            "recommender.tasks: preference needs what users like, in words, and the source has "
            "none; add users.csv (columns user, preference) or NAME.user.json, or leave it out"
        )
    without = ("seqrec", "preference")
    needing = sorted(task for task, weight in tasks.items() if weight > 0 and task not in without)
    if needing and texts is None:
        raise DataError(
            f"recommender.tasks: {', '.join(needing)} need words, and the items have no text; "
            "leave these tasks out, or use a source with item texts"
        )
