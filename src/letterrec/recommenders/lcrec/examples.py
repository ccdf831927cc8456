"""The examples that lcrec is trained on: windows of sequences, each with a task drawn anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from letterrec.data.sequences import Histories
from letterrec.recommenders.lcrec.prompts import Prompts
from letterrec.recommenders.lcrec.tasks import TASKS, Case
from letterrec.training import distributed
from letterrec.training.steps import Rows


class Examples:
    """Draws examples. The random state that tasks and their words are drawn from is set anew at
    each epoch, and a checkpoint within an epoch holds it.

    Args:
        windows: of sequences.
        liked: what the user of each window likes, in words.
        tasks: how often each is drawn, relative to the others.
        prompts: turns examples into tokens.
        titles: one per item; None where there are none.
        texts: one per item; None where there are none.
        n_items: in the catalogue.
        n_behaviours: kinds of interactions.
        seed: decides the draws.
    """

    def __init__(
        self,
        windows: Histories,
        liked: Sequence[str],
        tasks: Mapping[str, float],
        prompts: Prompts,
        *,
        titles: Sequence[str] | None,
        texts: Sequence[str] | None,
        n_items: int,
        n_behaviours: int,
        seed: int,
    ) -> None:
        self._windows, self._liked, self._prompts = windows, liked, prompts
        self._titles, self._texts = titles, texts
        self._n_items, self._n_behaviours = n_items, n_behaviours
        self._tasks = [TASKS[name] for name in tasks]
        shares = np.array(list(tasks.values()), dtype=np.float64)
        self._shares = shares / shares.sum()
        self._seed = seed
        self._random = np.random.default_rng(seed)

    def batch(self, rows: Rows) -> tuple[Tensor, ...]:
        """Windows with the task that is drawn for each, as `Prompts.batch` gives them."""
        examples = []
        for row in rows:
            task = self._tasks[int(self._random.choice(len(self._tasks), p=self._shares))]
            case = Case(
                self._windows[int(row)].tolist(),
                self._n_items,
                self._titles,
                self._texts,
                self._random,
                self._liked[row],
                self._n_behaviours,
            )
            examples.append(self._prompts.example(task(case)))
        return self._prompts.batch(examples)

    def begin(self, epoch: int) -> None:
        """Set the random state of an epoch."""
        self._random = np.random.default_rng([self._seed, epoch, distributed.rank()])

    def state_dict(self) -> dict[str, Any]:
        """The random state."""
        return dict(self._random.bit_generator.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a random state."""
        self._random.bit_generator.state = state
