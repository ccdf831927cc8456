"""LETTER-LC-Rec: a causal language model that reads and writes item identifiers.

The codes are tokens of their own, beside the model's vocabulary; what is trained is LoRA and the
codes' rows, and only that is kept. Where codes come next, only codes of the level have logits, and
the loss is over those that are legal; where text comes next, the whole vocabulary of the model.

Knows how prompts become tokens, losses and beams. Leaves the model to `lm`, the wording to `tasks`,
what is legal to `decoding` and the training loop to `training`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from letterrec.data.dataset import Histories
from letterrec.decoding.trie import Trie
from letterrec.errors import DataError, MissingExtra
from letterrec.identifiers import Identifiers
from letterrec.recommenders import lm
from letterrec.recommenders.checks import check_sizes, check_trainable
from letterrec.recommenders.losses import ranking_guided_loss
from letterrec.recommenders.prompts import Prompts
from letterrec.recommenders.tasks import TASKS, Case, history
from letterrec.training import Rows, TrainingLog, batches_by_length, has_bfloat16, train

_CODE_SPREAD = 0.2  # of new rows, relative to the model's own
_STEPS_PER_EPOCH = 10  # at least: a small data set is passed several times in an epoch


class LcRec(nn.Module):
    """A language model with LoRA and tokens for the codes of identifiers.

    Args:
        identifiers: the code sequence of every item.
        content: taken for the sake of the seam; this recommender reads codes and words.
        titles: one per item, for the tasks that read or write words.
        texts: one per item, title first; the same.
        max_history: latest items of a history that are read.
        model: what `lm.load` takes.
        dtype: of the model's own weights; ``"auto"`` is bfloat16 where that is fast.
        rank: of LoRA, on all linear layers inside the model.
        alpha: of LoRA: its product counts ``alpha / rank`` times.
        dropout: of LoRA.
        train_codes: train the codes' rows in the embedding and in the output, not LoRA alone.
        gradient_checkpointing: compute activations twice to hold fewer of them.
        tasks: task -> how often it is drawn, relative to the others; see `tasks.TASKS`; None is
            ``seqrec`` alone.
        temperature: tau of the ranking-guided loss (eq. 6).

    Raises:
        SettingsError: the model cannot be loaded.
        DataError: a task needs words and there are none.
        MissingExtra: peft is not installed.
    """

    reads_text: ClassVar[bool] = True  # the pipeline passes titles and texts
    prefixes: Tensor
    offsets: Tensor

    def __init__(
        self,
        identifiers: Identifiers,
        content: Tensor | None = None,
        *,
        titles: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
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
        self.titles, self.texts = titles, texts
        refuse_tasks_without_text(self.tasks, texts)
        half = has_bfloat16() if dtype == "auto" else dtype == "bfloat16"
        base = lm.load(model, torch.bfloat16 if half else torch.float32)
        self.network = _with_lora(base.copied(), rank, alpha, dropout)
        if gradient_checkpointing:
            self.network.activation_checkpointing_enable({"use_reentrant": False})
        table = base.network.get_input_embeddings().weight
        self.prompts = Prompts(base.tokenizer, first_code=len(table))
        self.code_input = _code_rows(sum(self.sizes), table, train_codes)
        tied = self.network.config.tie_word_embeddings
        output = base.network.get_output_embeddings().weight
        self.own_output = None if tied else _code_rows(sum(self.sizes), output, train_codes)
        starts = torch.tensor([0, *self.sizes[:-1]]).cumsum(0)
        self.register_buffer("offsets", starts, persistent=False)
        self.register_state_dict_post_hook(_keep_trained)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_miss_only_trained)  # type: ignore[no-untyped-call]
        self.set_catalogue(identifiers)

    @property
    def code_output(self) -> nn.Embedding:
        """The codes' rows in the output: those of the embedding where the model ties its own."""
        return self.code_input if self.own_output is None else self.own_output

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
        device = self.code_input.weight.device
        self.trie = Trie.build(identifiers).to(device)
        self.register_buffer("prefixes", self.trie.prefixes(), persistent=False)
        self.prompts.set_catalogue(identifiers)

    def fit(
        self,
        histories: Histories,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
        folder: Path | None = None,
        seed: int = 0,
        batch_size: int = 32,
        **training: Any,
    ) -> TrainingLog:
        """Train on the tasks, drawn anew for every sequence in every epoch.

        Args:
            histories: sequences of item rows.
            validate: metrics of the recommender as it is.
            folder: where checkpoints go.
            seed: decides every random choice.
            batch_size: sequences per step.
            training: further keywords of `training.train`.

        Raises:
            DataError: no sequence has two items.
        """
        check_trainable(histories)
        windows = histories.windows(self.max_history + 1)
        names = list(self.tasks)
        shares = np.array([self.tasks[n] for n in names], dtype=np.float64)
        shares /= shares.sum()
        random = np.random.default_rng(seed)

        def begin(epoch: int) -> None:
            nonlocal random
            random = np.random.default_rng([seed, epoch])

        def collate(rows: Rows) -> tuple[Tensor, ...]:
            n_items = len(self.prefixes)
            examples = []
            for row in rows:
                task = TASKS[names[int(random.choice(len(names), p=shares))]]
                window = windows[int(row)].tolist()
                case = Case(window, n_items, self.titles, self.texts, random)
                examples.append(self.prompts.example(task(case)))
            return self.prompts.batch(examples)

        with _attention_for_training(self.code_input.weight.device):
            return train(
                self,
                batches=lambda epoch: batches_by_length(
                    windows.lengths, batch_size, seed, epoch, at_least=_STEPS_PER_EPOCH
                ),
                collate=collate,
                before_epoch=begin,
                validate=validate,
                folder=folder,
                seed=seed,
                label="recommender (lcrec)",
                **training,
            )

    def forward(self, tokens: Tensor, items: Tensor, is_text: Tensor) -> dict[str, Tensor]:
        """The ranking-guided loss (eq. 6), as the mean over all wanted tokens.

        Args:
            tokens: int64 ``(batch, s)`` prompts with answers, left-aligned.
            items: int64 ``(batch, s)``: at the codes that are wanted, the item they belong to;
                elsewhere -1.
            is_text: bool ``(batch, s)``: where text is wanted.
        """
        hidden = self.read(tokens)[:, :-1]  # (batch, s - 1, d)
        tokens, items, is_text = tokens[:, 1:], items[:, 1:], is_text[:, 1:]
        at_code = items >= 0
        loss = self._code_loss(hidden[at_code], tokens[at_code], items[at_code])
        if bool(is_text.any()):
            logits = self.network.get_output_embeddings()(hidden[is_text])
            text = ranking_guided_loss(logits.float(), tokens[is_text], self.temperature)
            loss = loss + text * is_text.sum()
        return {"loss": loss / (at_code.sum() + is_text.sum())}

    def _code_loss(self, hidden: Tensor, tokens: Tensor, items: Tensor) -> Tensor:
        """Summed over codes: states ``(n, d)``, tokens and items ``(n,)``."""
        codes = tokens - self.prompts.first_code
        levels = torch.searchsorted(self.offsets, codes, right=True) - 1
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
                targets = codes[at] - self.offsets[level]
                loss = loss + len(at) * ranking_guided_loss(logits, targets, self.temperature)
        return loss

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens ``(...)``, of text and of codes -> inputs of the model ``(..., d)``."""
        codes = tokens - self.prompts.first_code
        text = self.network.get_input_embeddings()(tokens.masked_fill(codes >= 0, 0))
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
        start = sum(self.sizes[:level])
        weight = self.code_output.weight[start : start + self.sizes[level]]
        return F.linear(hidden.float(), weight.float()).float()

    @torch.no_grad()
    def encode(self, histories: Tensor, instructions: Sequence[str | None] | None = None) -> Beams:
        """Read each prompt once, for `decoding.search`.

        Args:
            histories: int64 ``(batch, longest)`` item rows, left-aligned, -1 padded; items before
                the latest ``max_history`` are not read.
            instructions: per history what is wanted, in words; None where nothing is said.
        """
        self.eval()
        wishes = instructions or [None] * len(histories)
        examples = []
        for row, wish in zip(histories.tolist(), wishes, strict=True):
            latest = [item for item in row if item >= 0][-self.max_history :]
            examples.append(self.prompts.example(history(latest, wish)))
        tokens, _, _ = self.prompts.batch(examples)
        lengths = torch.tensor([len(example.tokens) for example in examples])
        device = histories.device
        return Beams(self, tokens.to(device), lengths.to(device))


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
    def log_probs(self) -> Tensor:
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
        tokens = model.prompts.first_code + model.offsets[self._level] + codes
        self._state = model.read(
            tokens,
            use_cache=True,
            cache=self._cache,
            attention_mask=self._visible[:, None],
            position_ids=(self._lengths + self._level)[:, None].expand(-1, beams),
        )
        self._level += 1


def refuse_tasks_without_text(tasks: Mapping[str, float], texts: Sequence[str] | None) -> None:
    """Say that tasks need words where there are none.

    Raises:
        DataError: a task of a weight above 0 reads or writes words and ``texts`` is None.
    """
    needing = sorted(task for task, weight in tasks.items() if weight > 0 and task != "seqrec")
    if needing and texts is None:
        raise DataError(
            f"recommender.tasks: {', '.join(needing)} need words, and the items have no text; "
            "leave these tasks out, or use a source with item texts"
        )


def _attention_for_training(device: torch.device) -> AbstractContextManager[None]:
    """Plain attention on a CPU: PyTorch's fused one is slow there in the backward pass."""
    if device.type != "cpu":
        return nullcontext()
    return cast(AbstractContextManager[None], sdpa_kernel(SDPBackend.MATH))


def _with_lora(network: Any, rank: int, alpha: int, dropout: float) -> Any:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingExtra("peft", "llm") from None
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear")
    network = inject_adapter_in_model(config, network)
    for parameter in network.parameters():
        if parameter.requires_grad:  # what is trained needs the digits of float32
            parameter.data = parameter.data.float()
    return network


def _code_rows(n: int, like: Tensor, trained: bool) -> nn.Embedding:
    """float32 ``(n, d)`` rows near the mean of the model's own.

    Rows as far apart as those of words would begin with logits far worse than a uniform guess.
    """
    rows = nn.Embedding(n, like.shape[1], device=like.device)
    wide = like.detach().float()
    noise = torch.randn(n, like.shape[1]).to(like.device)
    rows.weight.data = wide.mean(0) + _CODE_SPREAD * wide.std(0) * noise
    return rows.requires_grad_(trained)


def _trained(module: nn.Module) -> set[str]:
    return {n for n, p in module.named_parameters(remove_duplicate=False) if p.requires_grad}


def _keep_trained(module: nn.Module, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    """Leave the model's own weights, which can be loaded elsewhere, out of the state."""
    kept = {prefix + name for name in _trained(module)}
    for name in [n for n in state if n.startswith(prefix) and n not in kept]:
        del state[name]


def _miss_only_trained(module: nn.Module, problems: Any) -> None:
    trained = _trained(module)
    problems.missing_keys[:] = [name for name in problems.missing_keys if name in trained]
