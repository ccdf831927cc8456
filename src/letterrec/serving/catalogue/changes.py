"""What changed in a run's catalogue since training."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray


class Words(NamedTuple):
    """Title and text of an item, and the address of its image, ``""`` where it has none."""

    title: str
    text: str
    image: str = ""


class Receipt(NamedTuple):
    """What an edit with an idempotency key did.

    Attributes:
        request: fingerprint of what was asked.
        generation: of the catalogue after it.
        added: items that it added.
        changed: items whose title, text or state it changed.
    """

    request: str
    generation: int
    added: int
    changed: int


@dataclass(frozen=True, eq=False)
class Changes:
    """Added items in the order of their rows, and the states of items that are not active.

    Attributes:
        item_ids: of the added items.
        titles: of the added items.
        texts: what was encoded.
        codes: int32 ``(n_added, n_levels)``.
        content: float32 ``(n_added, d_content)``.
        states: item id -> ``blocked`` or ``deleted``, of any item.
        generation: number of edits since training.
        lineage: unique id of this state of the catalogue; empty as trained.
        words: item id -> what is shown instead of the title, text and image that it came with.
        receipts: fingerprint of an idempotency key -> what the edit did, the oldest first.
        domains: of the added items; ``""``: that of the run's one source.
        images: of the added items.
    """

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    texts: tuple[str, ...]
    codes: NDArray[np.int32]
    content: NDArray[np.float32]
    states: dict[str, Literal["blocked", "deleted"]] = field(default_factory=dict)
    generation: int = 0
    lineage: str = field(default_factory=lambda: uuid4().hex)
    words: dict[str, Words] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    domains: tuple[str, ...] = ()
    images: tuple[str, ...] = ()

    @classmethod
    def none(cls, n_levels: int) -> Changes:
        """Nothing changed."""
        codes = np.zeros((0, n_levels), dtype=np.int32)
        return cls((), (), (), codes, np.zeros((0, 0), dtype=np.float32), lineage="")

    def without(self, learned: Container[str]) -> Changes:
        """What is left of them in a run that has learned of some of the added items.

        Args:
            learned: ids of the items that it was trained on.
        """
        rows = [row for row, item in enumerate(self.item_ids) if item not in learned]
        added = dict.fromkeys(self.item_ids[row] for row in rows)
        return replace(
            self,
            item_ids=tuple(added),
            titles=tuple(self.titles[row] for row in rows),
            texts=tuple(self.texts[row] for row in rows),
            codes=self.codes[rows],
            content=self.content[rows] if rows else self.content[:0],
            states={i: s for i, s in self.states.items() if i in learned or i in added},
            words={i: w for i, w in self.words.items() if i in learned or i in added},
            domains=tuple(self.domains[row] for row in rows),
            images=tuple(self.images[row] for row in rows),
        )
