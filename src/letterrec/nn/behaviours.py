"""Behaviours as inputs of a network: how an item came into the history, and what is asked for next.

A history is of events here, an integer each: the item's row times the number of behaviours, plus
the behaviour's row (`Histories.events`), -1 where there is none.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from letterrec.data.targets import predicted

_UNNAMED = 0.5  # share of the targets in training that are asked for without their behaviour's name


class BehaviourInputs(nn.Module):
    """What behaviours add to the inputs of a causal network over items.

    At each place: an embedding of the behaviour by which its item came into the history, and one of
    the behaviour that comes next, or is asked for. So a network learns what is viewed next and what
    is bought next from the same histories, and is asked for either.

    Args:
        n: behaviours.
        targets: rows of those that are to be predicted; empty: all. Where they are several, half of
            them are asked for as any of the targets in training.
        dim: width of the inputs.
    """

    def __init__(self, n: int, targets: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.n = n
        self.targets = predicted(targets, n)
        self.any_target = self.targets[0] if len(self.targets) == 1 else n
        self.had = nn.Embedding(n, dim)
        self.following = nn.Embedding(n + 1, dim)  # the last one: any of the targets
        nn.init.normal_(self.had.weight, std=0.02)
        nn.init.normal_(self.following.weight, std=0.02)

    def forward(self, events: Tensor, following: Tensor) -> Tensor:
        """float ``(batch, longest, dim)``, to be added to inputs.

        Args:
            events: int64 ``(batch, longest)``, -1 padded.
            following: int64 ``(batch, longest)`` behaviours that come next, as `between` and
                `wanted` give them.
        """
        return cast(Tensor, self.had(events.remainder(self.n)) + self.following(following))

    def between(self, events: Tensor, *, dropping: bool = False) -> Tensor:
        """The behaviour after each event but the last, int64 ``(batch, longest - 1)``; any target
        after the end.

        Args:
            events: int64 ``(batch, longest)``, -1 padded.
            dropping: in training: ask for half of the targets without a name.
        """
        following = events[:, 1:].remainder(self.n)
        unnamed = events[:, 1:] < 0
        if dropping and self.any_target == self.n:
            is_target = torch.isin(following, following.new_tensor(self.targets))
            drawn = torch.rand(following.shape, device=following.device) < _UNNAMED
            unnamed = unnamed | (is_target & drawn)
        return following.masked_fill(unnamed, self.any_target)

    def wanted(self, events: Tensor, wanted: Tensor | None = None) -> Tensor:
        """The behaviour after each event, int64 ``(batch, longest)``: after the latest of a history
        the one that is asked for.

        Args:
            events: int64 ``(batch, longest)``, left-aligned, -1 padded.
            wanted: int64 ``(batch,)`` rows of behaviours, -1 for any target; None: any.
        """
        following = nn.functional.pad(self.between(events), (0, 1), value=self.any_target)
        if wanted is None:
            return following
        latest = ((events >= 0).sum(1, keepdim=True) - 1).clamp_min(0)  # (batch, 1)
        row = wanted.to(events.device).masked_fill(wanted.to(events.device) < 0, self.any_target)
        return following.scatter(1, latest, row[:, None])


class NextBehaviour(nn.Module):
    """By which behaviour the next item comes, before it is known or asked for.

    The states of a network that reads `BehaviourInputs` know what comes next after their own place.
    So the head reads the state of the place before, which is that of what came last, and that event
    itself.

    Args:
        n: behaviours.
        dim: width of states and inputs.
    """

    def __init__(self, n: int, dim: int) -> None:
        super().__init__()
        self.inner = nn.Linear(2 * dim, dim)
        self.out = nn.Linear(dim, n)

    def forward(self, states: Tensor, inputs: Tensor) -> Tensor:
        """Logits ``(batch, longest, n)`` of the behaviour after each event.

        Args:
            states: float ``(batch, longest, dim)`` of the network after each event.
            inputs: float ``(batch, longest, dim)`` of the events themselves.
        """
        before = nn.functional.pad(states[:, :-1], (0, 0, 1, 0))
        hidden = nn.functional.gelu(self.inner(torch.cat([before, inputs], 2)))
        return cast(Tensor, self.out(hidden))


def items_of(events: Tensor, n_behaviours: int) -> Tensor:
    """Item rows of events; -1 stays.

    >>> items_of(torch.tensor([5, 4, -1]), 2).tolist()
    [2, 2, -1]
    """
    return events if n_behaviours == 1 else events.div(n_behaviours, rounding_mode="floor")
