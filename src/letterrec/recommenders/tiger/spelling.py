"""Histories as the tokens that tiger's encoder reads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from letterrec.identifiers.identifiers import END_TOKEN, PAD_TOKEN


def spell(histories: Tensor, item_tokens: Tensor) -> Tensor:
    """Histories as the encoder reads them: the tokens of their items, then ``END_TOKEN``.

    Args:
        histories: int64 ``(batch, n)`` item rows, left-aligned, -1 padded.
        item_tokens: int64 ``(n_items, n_levels)``, ``PAD_TOKEN`` after a shorter identifier.

    Returns:
        int64 ``(batch, s)``, ``PAD_TOKEN`` after the end.

    >>> items = torch.tensor([[2, 5], [3, PAD_TOKEN]])
    >>> spell(torch.tensor([[1, 0], [0, -1]]), items).tolist()
    [[3, 2, 5, 1], [2, 5, 1, 0]]
    """
    tokens = item_tokens[histories.clamp(min=0)]  # (batch, n, n_levels)
    tokens = tokens.masked_fill(histories[..., None] < 0, PAD_TOKEN).flatten(1)
    tokens = F.pad(tokens, (0, 1), value=PAD_TOKEN)
    if bool((item_tokens[:, -1] == PAD_TOKEN).any()):  # close the gaps after shorter identifiers
        order = (tokens == PAD_TOKEN).to(torch.uint8).argsort(dim=1, stable=True)
        tokens = tokens.gather(1, order)
    lengths = (tokens != PAD_TOKEN).sum(1, keepdim=True)
    return tokens.scatter(1, lengths, END_TOKEN)[:, : int(lengths.max()) + 1]
