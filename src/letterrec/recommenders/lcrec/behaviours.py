"""How likely a language model finds the words of behaviours, which stand before items, and so which
one comes next.
"""

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


def likeliest(
    network: Network,
    prompts: Prompts,
    histories: Tensor,
    wishes: Sequence[str | None],
    wanted: Sequence[int],
    targets: Sequence[int],
    n_behaviours: int,
) -> list[int]:
    """The behaviour that is asked for after each history; where none is, the likeliest target.

    Args:
        network: as of `behaviour_odds`, as are ``prompts``, ``histories`` and ``wishes``.
        prompts: says a history and a behaviour in its tokens.
        histories: ``batch`` of them.
        wishes: for each history what is wanted, in words, or None.
        wanted: for each history the row of the behaviour that is asked for; -1: none is.
        targets: rows of the behaviours that are to be predicted.
        n_behaviours: that there are.
    """
    found = list(wanted)
    open_ = [place for place, behaviour in enumerate(wanted) if behaviour < 0]
    chosen = [targets[0]] * len(open_)
    if open_ and len(targets) > 1:
        said = [wishes[place] for place in open_]
        odds = behaviour_odds(network, prompts, histories[open_], said, n_behaviours)
        chosen = [targets[i] for i in odds[:, list(targets)].argmax(1).tolist()]
    for place, behaviour in zip(open_, chosen, strict=True):
        found[place] = behaviour
    return found
