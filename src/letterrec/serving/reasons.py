"""Why an item is recommended: what its probability consists of, and what speaks for it.

The probability of an item is the share that transitions give it, and what the recommender gives it
of the rest (`decoding.mixture`). The share of the transitions is a sum over the items of the
history (`Transitions.origins`), which a wish weighs (`decoding.wish_effect`). So an explanation is
an exact account: its parts add up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from letterrec.data import Histories
from letterrec.decoding.wish_effect import WishEffect
from letterrec.serving.catalogue.items import Catalogue
from letterrec.serving.catalogue.tree import equal_codes, shared_codes
from letterrec.training.devices import device

_WINDOW = 20  # places within which an item of a training history counts as following another
_FEW = 3  # items of the history that are named for the codes that they share


@dataclass(frozen=True)
class Reason:
    """An item of the history, and what it has to do with a recommended one.

    Attributes:
        row: of the item of the history.
        share: of the recommended item's probability that comes by transitions from this item; 0
            where it has none.
        followed: users in whose training history the recommended item came after it, within 20
            interactions.
        similarity: cosine of the content embeddings of both; None where items have no content.
        shared: per level, whether the codes are equal.
    """

    row: int
    share: float
    followed: int
    similarity: float | None
    shared: list[bool]


@dataclass(frozen=True)
class Account:
    """What the probability of a recommended item consists of.

    Attributes:
        recommender: the share that is the recommender's own; with the shares of ``reasons`` this is
            one in sum. None where nothing is a probability of the recommender: of baselines, and of
            what an empty history gets.
        reasons: largest share first, then those with more codes in common.
    """

    recommender: float | None
    reasons: list[Reason] = field(default_factory=list)


class Reasons:
    """Explains recommended items.

    Args:
        training: the histories in which it is counted what followed what.
        content: float32 ``(n_trained, d)`` content embeddings; None where items have none.
        max_history: latest items of a history that are read.
        generates: whether scores are log-probabilities.
    """

    def __init__(
        self,
        training: Histories,
        content: NDArray[np.float32] | None,
        max_history: int,
        generates: bool,
    ) -> None:
        self._content, self._max_history, self._generates = content, max_history, generates
        self._followed = _Followed(training)

    def explain(
        self,
        catalogue: Catalogue,
        history: Sequence[int],
        answer: Sequence[tuple[int, float]],
        behaviours: Sequence[int] = (),
        asked: int = -1,
        wished: WishEffect | None = None,
    ) -> list[Account]:
        """An account of each recommended item.

        Args:
            catalogue: that the answer is of.
            history: item rows, oldest first, all of them.
            answer: rows of recommended items, and their scores.
            behaviours: of the history, one for each item; empty where there is one kind.
            asked: the behaviour that was asked for, -1 for the targets.
            wished: what a wish changed, where there was one.
        """
        items = [row for row, _ in answer]
        origins = self._origins(catalogue, history, items, behaviours, asked, wished)
        generated = self._generates and len(history) > 0
        return [
            self._account(catalogue, history, row, score if generated else None, line)
            for (row, score), line in zip(answer, origins, strict=True)
        ]

    def _origins(
        self,
        catalogue: Catalogue,
        history: Sequence[int],
        items: list[int],
        behaviours: Sequence[int],
        asked: int,
        wished: WishEffect | None,
    ) -> list[dict[int, float]]:
        """For each item the probability that it has from each row of the history."""
        transitions = catalogue.transitions
        if transitions is None or not transitions.has_weight or not history or not items:
            return [{} for _ in items]
        of_each = np.array(behaviours, dtype=np.int8) if behaviours else None
        items_of = replace(Histories.from_lists([history]), behaviours=of_each)
        whole = items_of.events(transitions.n_behaviours)
        latest = whole.latest(self._max_history)
        read, seen = (torch.from_numpy(h.padded()).to(device()) for h in (latest, whole))
        retrieved = transitions.retrieve(read, seen, torch.tensor([asked]))
        if wished is not None:
            retrieved = wished.weighed(retrieved)
        found = retrieved.items[0][retrieved.shares[0] > 0].cpu().numpy()
        found = found[catalogue.states[found] == 0]
        # items with one identifier have one probability: what is retrieved for any is part of it
        codes = catalogue.identifiers.codes
        is_equal = (codes[items][:, None] == codes[found]).all(2)  # (items, found)
        parts = transitions.origins(latest.items.tolist(), found.tolist(), retrieved) @ is_equal.T
        recent = items_of.latest(self._max_history).items.tolist()
        lines: list[dict[int, float]] = []
        for column in parts.T:
            line: dict[int, float] = {}
            for row, part in zip(recent, column.tolist(), strict=True):
                if part > 0:
                    line[row] = line.get(row, 0.0) + part
            lines.append(line)
        return lines

    def _account(
        self,
        catalogue: Catalogue,
        history: Sequence[int],
        item: int,
        log_probability: float | None,
        origins: dict[int, float],
    ) -> Account:
        probability = 0.0 if log_probability is None else math.exp(log_probability)
        from_history = sum(origins.values())
        whole = max(probability, from_history)  # rounding can put the parts above the sum
        shares = {row: part / whole for row, part in origins.items()}
        like = [why["row"] for why in shared_codes(catalogue, history, item, _FEW)]
        rows = sorted(dict.fromkeys([*like, *shares]), key=lambda row: -shares.get(row, 0.0))
        reasons = [
            Reason(
                row,
                shares.get(row, 0.0),
                self._followed.users(row, item, _WINDOW),
                self._similarity(catalogue, row, item),
                shared,
            )
            for row, shared in zip(rows, equal_codes(catalogue, rows, item).tolist(), strict=True)
        ]
        if log_probability is None:
            return Account(None, reasons)
        return Account(1.0 - from_history / whole if whole else 1.0, reasons)

    def _similarity(self, catalogue: Catalogue, one: int, other: int) -> float | None:
        content = self._content
        if content is None:
            return None
        added = catalogue.added_content
        a, b = (content[r] if r < len(content) else added[r - len(content)] for r in (one, other))
        return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


class _Followed:
    """Where each item stands in the training histories."""

    def __init__(self, histories: Histories) -> None:
        items = histories.items
        self._places = np.argsort(items, kind="stable")
        self._first = np.searchsorted(items[self._places], np.arange(items.max(initial=-1) + 2))
        self._ends = histories.offsets[1:]

    def users(self, before: int, after: int, window: int) -> int:
        """Histories in which ``after`` stands up to ``window`` places behind ``before``."""
        earlier, later = self._of(before), self._of(after)
        if not len(earlier) or not len(later):
            return 0
        user = np.searchsorted(self._ends, earlier, side="right")
        at = np.searchsorted(later, earlier, side="right")
        following = later[at.clip(max=len(later) - 1)]
        near = (at < len(later)) & (following - earlier <= window) & (following < self._ends[user])
        return len(np.unique(user[near]))

    def _of(self, item: int) -> NDArray[np.int64]:
        if item + 1 >= len(self._first):
            return self._places[:0]
        return self._places[self._first[item] : self._first[item + 1]]
