"""Caser: convolutions over the latest items of a history, as over an image.

Tang and Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding"
(WSDM'18), trained with the softmax over the whole catalogue in place of sampled negatives.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from letterrec.baselines.latest import LatestItems, latest_items, user_vectors
from letterrec.nn.dropout import Dropout


class Caser(LatestItems):
    """Scores an item from the convolved history beside the user (eq. 10); see `LatestItems`.

    Args:
        n_users: users of the training data.
        n_items: items in the catalogue.
        max_history: latest items of a history that are read, at most.
        dim: width of the embeddings.
        window: L, latest items of a history that are read.
        horizontal: filters of each height from 1 to the window, over all dimensions.
        vertical: filters over all items of the window, for each dimension.
        dropout: of what the filters give, and of the user.
        known_users: of `LatestItems`.
    """

    label = "recommender (Caser)"

    def __init__(
        self,
        *,
        n_users: int,
        n_items: int,
        max_history: int = 20,
        dim: int = 64,
        window: int = 5,
        horizontal: int = 16,
        vertical: int = 4,
        dropout: float = 0.5,
        known_users: bool = False,
    ) -> None:
        super().__init__(
            n_users=n_users,
            n_items=n_items,
            max_history=min(window, max_history),
            dim=dim,
            width=2 * dim,
            known_users=known_users,
        )
        heights = range(1, self.max_history + 1)
        self.horizontal = nn.ModuleList(nn.Conv1d(dim, horizontal, height) for height in heights)
        self.vertical = nn.Linear(self.max_history, vertical, bias=False)
        self.hidden = nn.Linear(horizontal * self.max_history + vertical * dim, dim)
        self.dropout = Dropout(dropout)
        self.draw_embeddings()

    def _read(self, histories: Tensor, users: Tensor | None) -> Tensor:
        """Histories and users -> float ``(n, 2 dim)``: what an item's output embedding meets."""
        latest = latest_items(histories, self.max_history)  # (n, window)
        image = self.items(latest.clamp(min=0)) * (latest >= 0)[:, :, None]  # (n, window, dim)
        image = image.transpose(1, 2)  # (n, dim, window)
        found = [filters(image).relu().amax(2) for filters in self.horizontal]  # eq. 3 to 5
        found.append(self.vertical(image).flatten(1))  # (n, dim * vertical), eq. 6 to 8
        hidden = self.hidden(self.dropout(torch.cat(found, 1))).relu()  # (n, dim), eq. 9
        user = self.dropout(user_vectors(self.users.weight, users, len(latest)))
        return torch.cat([hidden, user], 1)
