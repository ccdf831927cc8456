"""Turn prompts into tokens.

Text is cut into tokens by the language model's tokenizer. An item becomes the tokens of its codes,
which are numbered from the end of the model's vocabulary, or the tokens of its title.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from letterrec.identifiers.identifiers import FIRST_CODE_TOKEN, PAD_TOKEN, Identifiers
from letterrec.recommenders.lcrec.tasks import PromptPart

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LossOn = Literal["answer", "text"]


@dataclass
class Example:
    """The tokens of a prompt, with or without its answer.

    The answer is what is *wanted*: the tokens that carry loss in training.

    Attributes:
        tokens: of text and codes, in order.
        items: for each token the item that it belongs to if it is a wanted code, else -1.
        levels: for each token its level if it is a wanted code, else 0.
        is_text: for each token whether it is wanted text.
    """

    tokens: list[int] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    is_text: list[bool] = field(default_factory=list)

    def add(self, tokens: Sequence[int], item: int = -1, is_text: bool = False) -> None:
        """Append the tokens of one text, or of one item.

        Args:
            tokens: to append.
            item: the item whose wanted codes they are; -1 for any other tokens.
            is_text: whether they are wanted text.
        """
        self.tokens += tokens
        self.items += [item] * len(tokens)
        self.levels += range(len(tokens)) if item >= 0 else [0] * len(tokens)
        self.is_text += [is_text] * len(tokens)


class Prompts:
    """Turns the parts of a prompt into tokens; `set_catalogue` must be called first.

    Args:
        tokenizer: of the language model.
        code_tokens: the token of every code, level after level; where items are called by titles,
            the token of every word that titles use.
        loss_on: what carries loss in training, the ``"answer"`` or the whole ``"text"``.
        behaviours: what the kinds of interactions are called; empty where there is one kind. The
            word of its behaviour stands before every item.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        code_tokens: Sequence[int],
        loss_on: LossOn = "answer",
        behaviours: Sequence[str] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self._code_tokens = code_tokens
        self._all_wanted = loss_on == "text"
        bos = tokenizer.bos_token_id
        self._start = [bos] if bos is not None and tokenizer("a")["input_ids"][:1] == [bos] else []
        self._end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        self._said = lru_cache(4096)(self._say)
        self._behaviours = behaviours

    def set_catalogue(self, identifiers: Identifiers) -> None:
        """Spell items by these identifiers from now on."""
        self._spelled = identifiers.tokens

    def example(self, parts: Sequence[PromptPart]) -> Example:
        """The tokens of a prompt. A wanted part's text is followed by the tokenizer's end token."""
        example = Example()
        example.add(self._start)
        for part in parts:
            wanted = part.wanted or self._all_wanted
            if part.text:
                example.add(self._said(part.text), is_text=wanted)
                if part.wanted:
                    example.add(self._end, is_text=True)
            for event in part.items:
                item, behaviour = divmod(event, max(1, len(self._behaviours)))
                if self._behaviours and not part.alone:
                    example.add(self.behaviour(behaviour), is_text=wanted)
                example.add(self._codes(item), item if wanted else -1)
        return example

    def behaviour(self, row: int) -> list[int]:
        """The tokens that stand before an item of a behaviour."""
        return self._said(f" {self._behaviours[row]}: ")

    def title(self, item: int, end: int) -> list[int]:
        """The tokens of an item's title before its end, where items are called by titles."""
        tokens = self._codes(item)
        return tokens[: tokens.index(end)]

    def batch(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pad examples to the longest of them.

        Returns:
            Tokens, items and levels, int64, and is_text, bool, as `Example` has them; each
            ``(batch, longest)``, left-aligned, filled with 0, -1, 0 and False.
        """
        tokens = [torch.tensor(e.tokens, dtype=torch.int64) for e in examples]
        items = [torch.tensor(e.items, dtype=torch.int64) for e in examples]
        levels = [torch.tensor(e.levels, dtype=torch.int64) for e in examples]
        is_text = [torch.tensor(e.is_text, dtype=torch.bool) for e in examples]
        return (
            pad_sequence(tokens, batch_first=True),
            pad_sequence(items, batch_first=True, padding_value=-1),
            pad_sequence(levels, batch_first=True),
            pad_sequence(is_text, batch_first=True),
        )

    def _say(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens

    def _codes(self, item: int) -> list[int]:
        spelled = self._spelled[item].tolist()
        return [self._code_tokens[t - FIRST_CODE_TOKEN] for t in spelled if t != PAD_TOKEN]
