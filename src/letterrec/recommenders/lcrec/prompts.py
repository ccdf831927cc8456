"""Prompts as tokens: text by the language model's tokenizer, items by the codes behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from letterrec.identifiers.identifiers import FIRST_CODE_TOKEN, PAD_TOKEN, Identifiers
from letterrec.recommenders.lcrec.tasks import Part


@dataclass
class Example:
    """A prompt, with or without its answer.

    Attributes:
        tokens: of text and codes, in order.
        items: per token the item whose wanted code it is, else -1.
        levels: per token the level of a wanted code, else 0.
        is_text: per token whether it is wanted text.
    """

    tokens: list[int] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    is_text: list[bool] = field(default_factory=list)

    def add(self, tokens: Sequence[int], item: int = -1, is_text: bool = False) -> None:
        """Append tokens of one kind."""
        self.tokens += tokens
        self.items += [item] * len(tokens)
        self.levels += range(len(tokens)) if item >= 0 else [0] * len(tokens)
        self.is_text += [is_text] * len(tokens)


class Prompts:
    """Turns parts into tokens.

    Args:
        tokenizer: of the language model.
        code_tokens: the token of every code, level after level, or of every word.
    """

    def __init__(self, tokenizer: Any, code_tokens: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self._code_tokens = code_tokens
        bos = tokenizer.bos_token_id
        self._start = [bos] if bos is not None and tokenizer("a")["input_ids"][:1] == [bos] else []
        self._end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        self._said = lru_cache(4096)(self._say)

    def set_catalogue(self, identifiers: Identifiers) -> None:
        """Spell items by these identifiers."""
        self._spelled = identifiers.tokens

    def example(self, parts: Sequence[Part]) -> Example:
        """The tokens of a prompt; wanted text ends with the tokenizer's end token."""
        example = Example()
        example.add(self._start)
        for part in parts:
            if part.text:
                example.add(self._said(part.text), is_text=part.wanted)
                if part.wanted:
                    example.add(self._end, is_text=True)
            for item in part.items:
                example.add(self._codes(item), item if part.wanted else -1)
        return example

    def batch(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens, items and levels int64 and is_text bool, each ``(batch, longest)``, left-aligned.

        Behind the end stand token 0, item -1, level 0 and False.
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
