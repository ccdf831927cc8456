"""How likely a language model finds the words of behaviours, which stand before items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from letterrec.recommenders.lcrec.tasks import history

if TYPE_CHECKING:
    from letterrec.recommenders.lcrec.model import LcRec


@torch.no_grad()
def behaviour_odds(model: LcRec, histories: Tensor, wishes: Sequence[str | None]) -> Tensor:
    """The log-probability of each behaviour's words behind the prompt of each history.

    Args:
        model: tells behaviours apart.
        histories: int64 ``(batch, longest)`` events, left-aligned, -1 padded.
        wishes: for each history what is wanted, in words, or None.

    Returns:
        float32 ``(batch, n_behaviours)``.
    """
    prompts, examples, starts = model.prompts, [], []
    for row, wish in zip(histories.tolist(), wishes, strict=True):
        parts = history([event for event in row if event >= 0], wish)
        for behaviour in range(model.n_behaviours):
            example = prompts.example(parts)
            starts.append(len(example.tokens))
            example.add(prompts.behaviour(behaviour))
            examples.append(example)
    tokens = prompts.batch(examples)[0].to(histories.device)
    states = model.read(tokens)
    output = model.network.get_output_embeddings()
    odds = []
    for line, state, start, example in zip(tokens, states, starts, examples, strict=True):
        stop = len(example.tokens)
        logits = output(state[start - 1 : stop - 1]).float().log_softmax(1)  # (words, vocabulary)
        odds.append(logits.gather(1, line[start:stop, None]).sum())
    return torch.stack(odds).view(len(histories), model.n_behaviours)
