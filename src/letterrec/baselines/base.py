"""The seam of baselines: models that give every item a score, from histories alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn

from letterrec.data.sequences import Histories
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.options import TrainingOptions


class Baseline(nn.Module, ABC):
    """Scores all items of the catalogue as the next one of a history, without identifiers.

    A baseline is a subclass in a file of its own, an entry in `BASELINES`, and its settings, a
    class in `config/baselines.py` that is named in `BaselineSettings` there;
    `tests/contract_baseline.py` says what it must do. ``state_dict`` holds all that training
    decides.

    Args:
        n_users: users of the training data.
        n_items: items in the catalogue.
        max_history: latest items of a history that are read.

    Attributes:
        max_history: how many of the latest items of a history are read.
        user_tables: the tensors of ``state_dict`` whose first rows are the users', a row each.
    """

    user_tables: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, n_users: int, n_items: int, max_history: int = 20) -> None:
        super().__init__()
        self.n_users, self.n_items = n_users, n_items
        self.max_history = max_history

    @classmethod
    def check(cls, n_items: int) -> None:
        """Refuse, before anything is trained, a catalogue that is too large for it.

        Raises:
            LetterRecError: in one line, what is too much and what to do.
        """

    @abstractmethod
    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Learn from sequences of item rows, and keep the weights that validate best.

        Args:
            histories: one sequence per user, sequence ``i`` of user row ``i``.
            options: of the training; a model that is computed at once has no use for them.
            validate: metrics of the baseline as it is.

        Raises:
            DataError: no sequence has two items, where the order of items is what it learns from.
        """

    @abstractmethod
    def scores(self, histories: Tensor, users: Tensor | None = None) -> Tensor:
        """Score every item as the next one of each history.

        Args:
            histories: int64 ``(n, longest)`` item rows, left-aligned, -1 after the end;
                ``longest`` at most ``max_history``.
            users: int64 ``(n,)`` whose histories they are, as rows of the training data, -1 where
                that is not known; None where it is not known of any.

        Returns:
            float32 ``(n, n_items)``, higher is better; finite.
        """
