"""What models of a history's latest items share."""

from __future__ import annotations

import torch
from torch import Tensor


def latest_items(histories: Tensor, window: int) -> Tensor:
    """The latest items of each history, right-aligned.

    Args:
        histories: int64 ``(n, longest)`` item rows, left-aligned, -1 after the end.
        window: how many.

    Returns:
        int64 ``(n, window)``, -1 before the beginning.

    >>> latest_items(torch.tensor([[4, 5, 6], [7, -1, -1]]), 2).tolist()
    [[5, 6], [-1, 7]]
    """
    lengths = (histories >= 0).sum(1, keepdim=True)  # (n, 1)
    place = lengths - window + torch.arange(window, device=histories.device)  # (n, window)
    padded = torch.nn.functional.pad(histories, (0, 1), value=-1)  # never of no width
    return padded.gather(1, place.clamp(min=0)).masked_fill(place < 0, -1)


def user_vectors(table: Tensor, users: Tensor | None, n: int) -> Tensor:
    """The vector of each user, and the mean of all for one who is not known.

    Args:
        table: float ``(n_users, dim)``.
        users: int64 ``(n,)`` rows, -1 for nobody known; None: nobody is.
        n: how many are asked for.

    Returns:
        float ``(n, dim)``.
    """
    nobody = table.mean(0).expand(n, -1)
    if users is None:
        return nobody
    return torch.where((users >= 0)[:, None], table[users.clamp(min=0)], nobody)
