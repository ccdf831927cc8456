"""What wishes in words change in a search: which items may come back, and their probabilities."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from letterrec.linear.retrieved import Retrieved

_MOST = 12.0  # nats by which a wish raises or lowers an item that was retrieved, at most


@dataclass(frozen=True, eq=False)
class WishEffect:
    """What the wishes of a batch of queries say of every item; some of the queries may have none.

    Attributes:
        evidence: float32 ``(batch, n_items)``, in nats: by how much a wish makes an item likelier,
            beside the history; 0 where there is no wish.
        memory: float32 ``(batch, 1)``: by how much the odds of what was retrieved for the history
            are multiplied beside that; 1 where there is no wish.
        permitted: bool ``(batch, n_items)``: false where a wish rules an item out; None where none
            does.
    """

    evidence: Tensor
    memory: Tensor
    permitted: Tensor | None = None

    def weighed(self, retrieved: Retrieved) -> Retrieved:
        """What was retrieved for the histories alone, as it counts beside a wish (Bayes' rule).

        The mass of an item is its share times what the wish says of it; the recommender, which has
        read the wish, keeps the rest of the mass. So what was retrieved counts much where it goes
        with the wish, and little where it does not.

        >>> import torch
        >>> effect = WishEffect(torch.log(torch.tensor([[1.0, 4.0]])), torch.ones(1, 1))
        >>> before = Retrieved(torch.tensor([[0, 1]]), torch.tensor([[0.3, 0.2]]))
        >>> effect.weighed(before).shares.round(decimals=3).tolist()  # of .3, .8 and the rest, .5
        [[0.18799999356269836, 0.5]]
        """
        is_item = retrieved.items >= 0
        rows = retrieved.items.clamp(0, self.evidence.shape[1] - 1)
        gain = self.evidence.gather(1, rows).clamp(-_MOST, _MOST).exp() * self.memory
        shares = retrieved.shares.masked_fill(~is_item, 0.0)
        rest = 1 - shares.sum(1, keepdim=True)
        mass = shares * gain
        return Retrieved(retrieved.items, mass / (mass.sum(1, keepdim=True) + rest))

    def of(self, place: int) -> WishEffect:
        """What the wish of one query of the batch says."""
        one = slice(place, place + 1)
        permitted = None if self.permitted is None else self.permitted[one].clone()
        return WishEffect(self.evidence[one].clone(), self.memory[one].clone(), permitted)

    def allowed(self, allowed: Tensor | None, n_items: int) -> Tensor | None:
        """What may come back: bool ``(n_items,)`` or ``(batch, n_items)``, None for all; the items
        that wishes rule out taken away.
        """
        if self.permitted is None:
            return allowed
        permitted = self.permitted[:, :n_items]
        return permitted if allowed is None else permitted & allowed
