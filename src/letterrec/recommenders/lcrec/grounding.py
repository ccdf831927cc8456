"""Grounding: the model writes a title freely, and items are ranked by how near theirs are.

After "A Bi-Step Grounding Paradigm for Large Language Models in Recommendation Systems" (BIGRec):
what is written need not be the title of any item. `model.LcRec` makes it where its setting
``grounding`` is on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from letterrec.recommenders.lcrec.beams import Beams
from letterrec.recommenders.lcrec.network import Network

_AT_ONCE = 256  # titles embedded at a time


class Grounding:
    """Scores all items by the distance of their titles to the one that the model writes.

    A `decoding.ranker.Scorer`.

    Args:
        network: calls items by titles; trained.
        encode: reads histories, int64 ``(n, longest)``, as of `write_titles`.
        titles: float32 ``(n_items, d)`` as `embed_titles` gives for the catalogue.
        popularity: int64 ``(n_items,)``: how often each item was chosen.
        gamma: how much that counts, as of `nearness`.
        max_history: latest items of a history that are read.
    """

    def __init__(
        self,
        network: Network,
        encode: Callable[[Tensor], Beams],
        titles: Tensor,
        popularity: NDArray[np.int64],
        *,
        gamma: float,
        max_history: int,
    ) -> None:
        self.max_history = max_history
        self._network, self._encode = network, encode
        self._titles, self._gamma = titles, gamma
        self._popularity = torch.from_numpy(popularity).to(titles)

    @torch.no_grad()
    def scores(self, histories: Tensor) -> Tensor:
        """float32 ``(n, n_items)``: `nearness` of every item's title.

        Args:
            histories: int64 ``(n, longest)`` item rows, left-aligned, -1 padded.
        """
        titles = write_titles(self._network, self._encode(histories), len(histories))
        written = embed_titles(self._network, titles)
        distances = torch.cdist(written, self._titles)
        return nearness(distances, self._popularity, self._gamma)


def nearness(distances: Tensor, popularity: Tensor, gamma: float) -> Tensor:
    """Distances as scores, popular items brought nearer: ``-D / (1 + P)^gamma`` (BIGRec, eq. 3).

    Args:
        distances: float32 ``(n, n_items)``; D has each row scaled from 0 to 1.
        popularity: float32 ``(n_items,)``; P is scaled from 0 to 1.
        gamma: 0 leaves popularity out.

    >>> distances, popularity = torch.tensor([[2.0, 3.0, 4.0]]), torch.tensor([0.0, 1.0, 3.0])
    >>> nearness(distances, popularity, 0.0).tolist()
    [[-0.0, -0.5, -1.0]]
    >>> [round(x, 3) for x in nearness(distances, popularity, 2.0)[0].tolist()]
    [-0.0, -0.281, -0.25]
    """
    return -_unit(distances) / (1 + _unit(popularity)) ** gamma


def _unit(values: Tensor) -> Tensor:
    """Scaled from 0 to 1 along the last dimension; 0 where all are equal."""
    low, high = values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)
    return (values - low) / (high - low).clamp(min=torch.finfo(values.dtype).tiny)


@torch.no_grad()
def write_titles(network: Network, beams: Beams, n: int) -> list[list[int]]:
    """What the model goes on with after each history, word by word, the likeliest each time.

    The words are those of all titles, in any order. A title ends at the end that titles have, or
    when it is as long as the longest.

    Args:
        network: calls items by titles.
        beams: one of each history, before the first word.
        n: histories.

    Returns:
        The language model's tokens of each title, without the end.
    """
    end, device = title_end(network), network.offsets.device
    first = torch.zeros((n, 1), dtype=torch.int64, device=device)
    open_ = torch.ones(n, dtype=torch.bool, device=device)
    words = []
    for level in range(len(network.sizes)):
        chosen = beams.log_probs()[:, 0].argmax(1)  # (n,)
        open_ = open_ & (chosen != end)
        words.append(chosen.masked_fill(~open_, -1))
        if level + 1 == len(network.sizes) or not bool(open_.any()):
            break
        beams.advance(first, chosen[:, None])
    rows = torch.stack(words, 1).tolist()
    tokens = network.code_tokens.tolist()
    return [[tokens[word] for word in row if word >= 0] for row in rows]


def title_end(network: Network) -> int:
    """The code of the word that ends every title."""
    codes = network.item_codes[0]
    return int(codes[codes >= 0][-1])


@torch.no_grad()
def embed_titles(network: Network, titles: Sequence[Sequence[int]]) -> Tensor:
    """The model's last hidden state after reading each title alone.

    Args:
        network: a language model.
        titles: tokens, without the end of a title; an empty title is read as that end.

    Returns:
        float32 ``(n, d)``.
    """
    network.eval()
    device = network.offsets.device
    end = int(network.code_tokens[title_end(network)])
    found = []
    for start in range(0, len(titles), _AT_ONCE):
        rows = [torch.tensor(list(t) or [end]) for t in titles[start : start + _AT_ONCE]]
        states = network.read(pad_sequence(rows, batch_first=True).to(device))  # (batch, s, d)
        last = torch.tensor([len(row) - 1 for row in rows], device=device)
        found.append(states[torch.arange(len(rows), device=device), last].float())
    return torch.cat(found)
