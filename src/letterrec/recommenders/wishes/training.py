"""How the reader of wishes is trained, beside a recommender that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from letterrec.nn.sasrec import full_loss
from letterrec.recommenders.wishes.reader import WishReader

_ALONE = 0.3  # share of the wishes that are read without a history
_NONE = 0.1  # share of the cases without a wish: what is popular, where there is no history
_TARGETS = 512  # of a batch, at most: a softmax over all items for each


class Expecting(Protocol):
    """What training needs of a recommender: its states, and the loss of what follows them."""

    content: Tensor | None
    item_query: nn.Linear | None

    def train(self, mode: bool = True) -> Self:
        """As of any module."""

    def targets_of(self, groups: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """States before items that follow others, their rows, and the rows read before each."""

    def code_loss(self, hidden: Tensor, following: Tensor) -> Tensor:
        """The loss of spelling items after states."""

    def items(self) -> Tensor:
        """What stands for each item in the softmax over items."""


class _Fixed(NamedTuple):
    """What is read in training and not trained."""

    recommender: Expecting
    pool: Tensor


class WishTraining(nn.Module):
    """A reader of wishes, as `training.loop.train` trains it.

    Each item that follows others is to be found by one of its wishes beside the history, or by the
    wish alone.

    Args:
        recommender: trained; its weights stay.
        reader: to be trained.
        pool: float ``(n_items, n, d_content)``, as of `Recommender.fit_wishes`.
    """

    def __init__(self, recommender: Expecting, reader: WishReader, pool: Tensor) -> None:
        super().__init__()
        self.reader = reader
        self._fixed = _Fixed(recommender, pool)

    @cached_property
    @torch.no_grad()
    def _items(self) -> Tensor:
        """What stands for each item in the softmax over items: made once, as its weights stay."""
        return self._fixed.recommender.items()

    def train(self, mode: bool = True) -> Self:
        """As of any module; the recommender, too, drops out activations while this is trained."""
        self._fixed.recommender.train(mode)
        return super().train(mode)

    def forward(self, *groups: Tensor) -> dict[str, Tensor]:
        """The loss of predicting items by wishes.

        Args:
            groups: int64 ``(sequences, longest)`` item rows, as of the recommender's ``forward``.

        Returns:
            ``codes``, the loss of spelling the items, ``items``, that of the softmax over items,
            and ``loss``, their sum.
        """
        recommender, pool = self._fixed
        assert recommender.content is not None
        with torch.no_grad():
            states, following, read = recommender.targets_of(groups)
        some = torch.randperm(len(following), device=states.device)[:_TARGETS]
        states, following, read = states[some], following[some], read[some]
        kind = torch.rand(len(some), 2, device=states.device)
        alone = kind[:, 0] < _ALONE
        drawn = torch.randint(pool.shape[1], following.shape, device=following.device)
        wishes = pool[following.to(pool.device), drawn.to(pool.device)].to(states)
        has_wish = (kind[:, 1] >= _NONE) & wishes.any(1)
        before = self.reader.begun(states, ~alone)
        hidden = self.reader.wished(before, wishes, has_wish)
        query = self.reader.queries(hidden, wishes, has_wish)
        table = self.reader.items(recommender.content)
        if recommender.item_query is not None:
            query = torch.cat([recommender.item_query(hidden), query * has_wish[:, None]], 1)
            table = torch.cat([self._items, table], 1)
        left_out = read.masked_fill(alone[:, None], -1) if self.reader.taken_once else None
        of_items = full_loss(query, table, following, left_out)
        codes = recommender.code_loss(hidden, following)
        return {"loss": codes + of_items, "codes": codes, "items": of_items}
