"""How likely a language model finds the words of behaviours, which stand before items."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from letterrec.recommenders.lcrec.network import Network
from letterrec.recommenders.lcrec.prompts import Prompts
from letterrec.recommenders.lcrec.tasks import history


@torch.no_grad()
def behaviour_odds(
    network: Network,
    prompts: Prompts,
    histories: Tensor,
    wishes: Sequence[str | None],
    n_behaviours: int,
) -> Tensor:
    """The log-probability of each behaviour's words behind the prompt of each history.

    Args:
        network: trained to tell behaviours apart.
        prompts: says a history and a behaviour in its tokens.
        histories: int64 ``(batch, longest)`` events, left-aligned, -1 padded.
        wishes: for each history what is wanted, in words, or None.
        n_behaviours: that there are.

    Returns:
        float32 ``(batch, n_behaviours)``.
    """
    examples, starts = [], []
    for row, wish in zip(histories.tolist(), wishes, strict=True):
        parts = history([event for event in row if event >= 0], wish)
        for behaviour in range(n_behaviours):
            example = prompts.example(parts)
            starts.append(len(example.tokens))
            example.add(prompts.behaviour(behaviour))
            examples.append(example)
    tokens = prompts.batch(examples)[0].to(histories.device)
    states = network.read(tokens)
    output = network.network.get_output_embeddings()
    odds = []
    for line, state, start, example in zip(tokens, states, starts, examples, strict=True):
        stop = len(example.tokens)
        logits = output(state[start - 1 : stop - 1]).float().log_softmax(1)  # (words, vocabulary)
        odds.append(logits.gather(1, line[start:stop, None]).sum())
    return torch.stack(odds).view(len(histories), n_behaviours)
