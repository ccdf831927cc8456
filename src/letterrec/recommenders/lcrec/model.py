"""LETTER-LC-Rec: a causal language model that reads and writes item identifiers (section 4.2.5).

Where a code comes next, the logits are those of the level's codes, and the loss is over the legal
ones. Where text comes next, both are over the model's own vocabulary.

`llm` finds the model, `network` has its weights and the codes', `lora` says what is trained,
`tasks` words the prompts, `prompts` turns them into tokens, `examples` draws them, `scoring` says
how likely given codes are, `beams` searches, `grounding` writes titles freely instead, and `export`
merges all that is trained into the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from letterrec.config.recommenders import LcRecSettings
from letterrec.data.sequences import Histories
from letterrec.data.targets import predicted
from letterrec.decoding.ranker import EventRanker, Ranker
from letterrec.decoding.trie import Trie
from letterrec.errors import DataError
from letterrec.identifiers.identifiers import Identifiers
from letterrec.linear.transitions import Transitions
from letterrec.recommenders.base import (
    Features,
    LegalCodes,
    Recommender,
    check_sizes,
    check_trainable,
)
from letterrec.recommenders.lcrec import llm
from letterrec.recommenders.lcrec.beams import Beams
from letterrec.recommenders.lcrec.behaviours import behaviour_odds, likeliest
from letterrec.recommenders.lcrec.examples import Examples
from letterrec.recommenders.lcrec.export import export as write_merged
from letterrec.recommenders.lcrec.grounding import Grounding, embed_titles, title_end
from letterrec.recommenders.lcrec.lora import attention_for_training
from letterrec.recommenders.lcrec.network import Network
from letterrec.recommenders.lcrec.prompts import LossOn, Prompts
from letterrec.recommenders.lcrec.scoring import code_loss
from letterrec.recommenders.lcrec.tasks import history, refuse_tasks_without_text
from letterrec.recommenders.losses import ranking_guided_loss
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.loop import batches_by_length, train
from letterrec.training.options import TrainingOptions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_STEPS_PER_EPOCH = 10  # at least: a small data set is passed several times in an epoch


class LcRec(Network, Recommender):
    """A causal language model with LoRA adapters and a token for every code.

    Args:
        identifiers: the code sequence of every item.
        content: not read: this recommender knows items by their codes and words.
        titles: one per item, for the tasks that read or write words; None where there are none.
        texts: one per item, title first, for the same tasks.
        preferences: one per user, what the user likes in words, for the task ``preference``.
        behaviours: what the kinds of interactions are called; empty where there is one kind. Of
            several, the word of its behaviour stands before every item ("Multi-Behavior Generative
            Recommendation", MBGen, CIKM'24).
        targets: rows of the behaviours that are to be predicted; empty: all.
        max_history: how many of the latest items of a history are read.
        model: the language model, as `llm.load` takes it.
        dtype: of the model's own weights; ``"auto"`` is bfloat16 where that is fast, else float32.
        rank: of the LoRA adapters; see `lora.with_lora`, also for ``alpha`` and ``dropout``.
        alpha: scale of the adapters.
        dropout: of the adapters.
        train_codes: whether the codes' rows of the embedding and the output layer are trained;
            otherwise they stay as they were drawn. Titles have no such rows.
        loss_on: what carries loss: the ``"answer"``, or the whole ``"text"``, the words and codes
            of the prompt too, as in the paper's run.
        gradient_checkpointing: save memory by computing activations again in the backward pass.
        tasks: how often each task is drawn, relative to the others; see `tasks.TASKS`. None:
            ``seqrec`` alone.
        temperature: tau of the ranking-guided loss (eq. 6).
        grounding: where items are called by titles: write a title freely, and rank items by how
            near theirs are (`Grounding`), instead of searching the trie. The loss is then over all
            words of titles, not over the legal ones.
        popularity: how much an item's popularity counts there, gamma of `grounding.nearness`.

    Raises:
        SettingsError: the model cannot be loaded.
        DataError: a task needs words or preferences and there are none.
        MissingExtra: peft is not installed.
    """

    def __init__(
        self,
        identifiers: Identifiers,
        content: Tensor | None = None,
        *,
        trie: Trie | None = None,
        titles: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        preferences: Sequence[str] | None = None,
        behaviours: tuple[str, ...] = (),
        targets: tuple[int, ...] = (),
        max_history: int = 20,
        model: str = "smollm2",
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        rank: int = 8,
        alpha: int = 16,
        dropout: float = 0.05,
        train_codes: bool = True,
        loss_on: LossOn = "answer",
        gradient_checkpointing: bool = False,
        tasks: Mapping[str, float] | None = None,
        temperature: float = 1.0,
        grounding: bool = False,
        popularity: float = 0.0,
    ) -> None:
        tasks = {name: weight for name, weight in (tasks or {"seqrec": 1.0}).items() if weight > 0}
        refuse_tasks_without_text(tasks, texts, preferences)
        super().__init__(
            identifiers,
            model=model,
            dtype=dtype,
            rank=rank,
            alpha=alpha,
            dropout=dropout,
            train_codes=train_codes,
            gradient_checkpointing=gradient_checkpointing,
        )
        self._grounds, self._gamma = grounding, popularity
        self._title_embeddings: Tensor | None = None  # made when they are first asked for
        self.register_load_state_dict_post_hook(LcRec._forget_titles)  # type: ignore[no-untyped-call]
        self.max_history = max_history
        self.temperature = temperature
        self.tasks = tasks
        self.titles, self.texts, self.preferences = titles, texts, preferences
        self.n_behaviours = max(1, len(behaviours))
        self.targets = predicted(targets, self.n_behaviours)
        self.prompts = Prompts(self.text_tokens, self.code_tokens.tolist(), loss_on, behaviours)
        self.prompts.set_catalogue(identifiers)
        self._legal = LegalCodes(identifiers, trie)

    @classmethod
    def given(cls, features: Features, trie: Trie | None) -> dict[str, object]:
        """The trie, the behaviours, and the words that its tasks read or write."""
        return {
            "trie": trie,
            "behaviours": features.behaviours,
            "targets": features.targets,
            "titles": features.titles,
            "texts": features.texts,
            "preferences": features.preferences,
        }

    @classmethod
    def check(cls, features: Features, settings: Mapping[str, object]) -> None:
        """Refuse tasks without the words that they need, and models that cannot be loaded."""
        chosen = LcRecSettings.model_validate(settings)
        tasks = chosen.tasks.model_dump()
        refuse_tasks_without_text(tasks, features.texts, features.preferences)
        llm.check(chosen.model)

    @classmethod
    def text_tokenizer(cls, settings: Mapping[str, object]) -> PreTrainedTokenizerBase:
        """The language model's."""
        return llm.load_tokenizer(LcRecSettings.model_validate(settings).model)

    def export(self, folder: Path) -> None:
        """Write the model, with what was trained merged into its weights; see `lcrec.export`."""
        write_merged(self, folder)

    @property
    def follows_instructions(self) -> bool:
        """Whether the task ``query`` was trained, which takes wishes in words."""
        return "query" in self.tasks

    @property
    def searches(self) -> bool:
        """Whether items are ranked by searching their identifiers, and not by `Grounding`."""
        return not self._grounds

    def ranker(
        self,
        trie: Trie,
        popularity: NDArray[np.int64],
        *,
        transitions: Transitions | None = None,
        beam: int = 20,
    ) -> Ranker:
        """Beam search; or `Grounding`, which reads neither transitions nor beam."""
        if self.searches:
            return super().ranker(trie, popularity, transitions=transitions, beam=beam)
        if self._title_embeddings is None:
            end = int(self.code_tokens[title_end(self)])
            titles = [self.prompts.title(item, end) for item in range(len(self.item_codes))]
            self._title_embeddings = embed_titles(self, titles)
        scorer = Grounding(
            self,
            self.encode,
            self._title_embeddings,
            popularity,
            gamma=self._gamma,
            max_history=self.max_history,
        )
        return EventRanker(scorer, self.offsets.device, n_behaviours=self.n_behaviours)

    @staticmethod
    def _forget_titles(module: nn.Module, keys: object = None) -> None:
        """Embeddings of titles are those of the weights that made them."""
        assert isinstance(module, LcRec)
        module._title_embeddings = None

    def set_catalogue(
        self,
        identifiers: Identifiers,
        content: Tensor | None = None,
        absent: NDArray[np.int64] | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        """Go on with the same items and possibly more behind them.

        Raises:
            IdentifierError: the levels have other sizes than those trained on.
        """
        check_sizes(identifiers, self.sizes)
        self.set_items(identifiers)
        self._legal = LegalCodes(identifiers)
        self.prompts.set_catalogue(identifiers)
        self._forget_titles(self)

    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Train on the tasks. Each window of each sequence gets a task drawn anew in every epoch.

        Args:
            histories: sequences of item rows, one per user.
            options: of the training.
            validate: metrics of the recommender as it is.

        Raises:
            DataError: no sequence has two items, or the sequences are not those of the users whose
                preferences were given.
        """
        check_trainable(histories)
        self._forget_titles(self)
        windows = histories.events(self.n_behaviours).windows(self.max_history + 1)
        user_of = np.repeat(np.arange(len(histories)), histories.n_windows(self.max_history + 1))
        likes = self.preferences or [""] * len(histories)
        if len(likes) != len(histories):
            raise DataError(
                f"{len(histories)} histories for the preferences of {len(likes)} users: expected "
                "one history each"
            )
        examples = Examples(
            windows,
            [likes[user] for user in user_of.tolist()],
            self.tasks,
            self.prompts,
            titles=self.titles,
            texts=self.texts,
            n_items=len(self.item_codes),
            n_behaviours=self.n_behaviours,
            seed=options.seed,
        )
        with attention_for_training(self.offsets.device):
            return train(
                self,
                batches=lambda epoch: batches_by_length(
                    windows.lengths, options, epoch, at_least=_STEPS_PER_EPOCH
                ),
                collate=examples.batch,
                before_epoch=examples.begin,
                stateful=examples,
                options=options,
                validate=validate,
                label="recommender (lcrec)",
            )

    def forward(
        self, tokens: Tensor, items: Tensor, levels: Tensor, is_text: Tensor
    ) -> dict[str, Tensor]:
        """The ranking-guided loss (eq. 6), averaged over all wanted tokens.

        Args:
            tokens: int64 ``(batch, s)`` prompts with answers, left-aligned.
            items: int64 ``(batch, s)``: the item that a wanted code belongs to; -1 elsewhere.
            levels: int64 ``(batch, s)``: the level of a wanted code; 0 elsewhere.
            is_text: bool ``(batch, s)``: whether a token is wanted text.

        Returns:
            ``{"loss": scalar}``, float32.
        """
        hidden = self.read(tokens)[:, :-1]  # (batch, s - 1, d)
        tokens, items, levels, is_text = (t[:, 1:] for t in (tokens, items, levels, is_text))
        at_code = items >= 0
        loss = code_loss(
            self,
            None if self._grounds else self._legal,
            hidden[at_code],
            items[at_code],
            levels[at_code],
            self.temperature,
        )
        if bool(is_text.any()):
            logits = self.network.get_output_embeddings()(hidden[is_text])
            text = ranking_guided_loss(logits.float(), tokens[is_text], self.temperature)
            loss = loss + text * is_text.sum()
        return {"loss": loss / (at_code.sum() + is_text.sum())}

    @torch.no_grad()
    def encode(
        self,
        histories: Tensor,
        instructions: Sequence[str | None] | None = None,
        behaviours: Tensor | None = None,
    ) -> Beams:
        """Read the prompt of each history once, for `beam_search.search`.

        Args:
            histories: int64 ``(batch, longest)`` item rows, or events, left-aligned, -1 padded;
                ``longest`` at most ``max_history``.
            instructions: for each history what is wanted, in words, or None.
            behaviours: int64 ``(batch,)`` that are asked for; for -1, or None, the likeliest of the
                targets is predicted.
        """
        self.eval()
        wishes = instructions or [None] * len(histories)
        wanted = [-1] * len(histories) if behaviours is None else behaviours.tolist()
        if self.n_behaviours > 1:
            wanted = likeliest(
                self, self.prompts, histories, wishes, wanted, self.targets, self.n_behaviours
            )
        examples = []
        for row, wish, behaviour in zip(histories.tolist(), wishes, wanted, strict=True):
            items = [item for item in row if item >= 0]
            example = self.prompts.example(history(items, wish))
            if self.n_behaviours > 1:
                example.add(self.prompts.behaviour(behaviour))
            examples.append(example)
        tokens, *_ = self.prompts.batch(examples)
        lengths = torch.tensor([len(example.tokens) for example in examples])
        device = histories.device
        return Beams(self, tokens.to(device), lengths.to(device))

    def next_behaviours(self, histories: Tensor) -> Tensor:
        """The probabilities of the words that stand before an item; see
        `Recommender.next_behaviours`.
        """
        self.eval()
        unsaid = [None] * len(histories)
        odds = behaviour_odds(self, self.prompts, histories, unsaid, self.n_behaviours)
        return odds.softmax(1)
