"""The network that reads wishes beside histories, or alone."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from letterrec.nn.dropout import Dropout

_SHARPNESS = 20.0  # of cosines of content, where training starts


class WishReader(nn.Module):
    """Changes what a recommender expects next by what is wished for.

    A wish changes the state that codes are decoded from. It also finds items directly, by a product
    of what stands for both, which starts as the cosine of their content: training begins at dense
    retrieval.

    Args:
        content: float32 ``(n_items, d_content)`` content embeddings of the items.
        dim: width of the recommender's states.
        width: of the vectors that wishes and items meet in.
        dropout: within the network.
    """

    strengths: ClassVar = ("memory", "sharpness", "near", "excluded_from")
    memory: Tensor  # float32 (): chosen on validation, see `WishEffect`
    sharpness: Tensor  # float32 (): of what a wish says of retrieved items; chosen likewise
    near: Tensor  # float32 (): cosine from which on an item answers a wish
    taken_once: Tensor  # bool (): whether items of the history are not looked for
    excluded_from: Tensor  # float32 (): nats of evidence from which on a phrase rules an item out

    def __init__(
        self, content: Tensor, dim: int, *, width: int = 128, dropout: float = 0.1
    ) -> None:
        super().__init__()
        d_content = content.shape[1]
        width = min(width, d_content)
        self.alone = nn.Parameter(torch.zeros(dim))
        self.wish_input = nn.Linear(d_content, dim)
        self.norm = nn.LayerNorm(2 * dim)
        last = nn.Linear(4 * dim, dim)
        self.mix = nn.Sequential(nn.Linear(2 * dim, 4 * dim), nn.GELU(), Dropout(dropout), last)
        self.item_side = nn.Linear(d_content, width, bias=False)
        self.wish_side = nn.Linear(d_content, width, bias=False)
        self.state_side = nn.Linear(dim, width)
        axes = _principal_axes(content, width)
        with torch.no_grad():
            self.item_side.weight.copy_(axes)
            self.wish_side.weight.copy_(_SHARPNESS * axes)
            for layer in (last, self.state_side):
                layer.weight.mul_(0.1)
                layer.bias.zero_()
        for name, value in zip(self.strengths, (1.0, 1.0, -1.0, 1.5), strict=True):
            self.register_buffer(name, torch.tensor(value))
        self.register_buffer("taken_once", torch.tensor(False))

    def begun(self, states: Tensor, has_history: Tensor) -> Tensor:
        """States ``(batch, dim)``; where there is no history (bool ``(batch,)``), that of none."""
        return torch.where(has_history[:, None], states, self.alone)

    def wished(self, states: Tensor, wishes: Tensor, has_wish: Tensor) -> Tensor:
        """States ``(batch, dim)``, changed by wishes ``(batch, d_content)`` where there is one
        (bool ``(batch,)``) -> the same shape.
        """
        both = self.norm(torch.cat([states, self.wish_input(wishes)], 1))
        change: Tensor = self.mix(both)
        return torch.where(has_wish[:, None], states + change, states)

    def queries(self, states: Tensor, wishes: Tensor, has_wish: Tensor) -> Tensor:
        """What finds items, ``(batch, width)``, of `wished` states and of wishes; of states alone
        where there is no wish.
        """
        found: Tensor = self.state_side(states) + self.wish_side(wishes) * has_wish[:, None]
        return found

    def items(self, content: Tensor) -> Tensor:
        """Content ``(n, d_content)`` -> what stands for the items, ``(n, width)``."""
        found: Tensor = self.item_side(nn.functional.normalize(content, dim=1))
        return found


def _principal_axes(content: Tensor, width: int) -> Tensor:
    """float32 ``(width, d_content)``: the directions in which contents differ most, unit length."""
    unit = nn.functional.normalize(content.float(), dim=1)
    centred = unit - unit.mean(0)
    axes: Tensor = torch.linalg.eigh(centred.T @ centred).eigenvectors  # ascending
    return axes.T.flip(0)[:width]
