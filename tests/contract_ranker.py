"""What every ranker must do; a test of one inherits `RankerContract` and makes it."""

from __future__ import annotations

import numpy as np
import torch

from letterrec.data.sequences import Histories
from letterrec.decoding.ranker import Queries, Ranker

HISTORIES = Histories.from_lists([[0, 1, 2], [3], [5, 4, 5, 6, 7, 0, 1], [8, 9]])


class RankerContract:
    """On a catalogue of ten items; histories are `HISTORIES`."""

    def make(self) -> Ranker:
        """A ranker of ten items that reads at least two items."""
        raise NotImplementedError

    def rank(self, k: int = 10, **wanted: object) -> tuple[torch.Tensor, torch.Tensor]:
        ranking = self.make().rank(Queries(HISTORIES, k, **wanted))  # type: ignore[arg-type]
        return ranking.items, ranking.scores

    def test_all_items_come_back_once_best_first(self) -> None:
        items, scores = self.rank()
        assert items.shape == scores.shape == (4, 10)
        assert all(sorted(row) == list(range(10)) for row in items.tolist())
        assert bool((scores.diff() <= 0).all())

    def test_fewer_are_the_first_of_more(self) -> None:
        assert torch.equal(self.rank(k=3)[0], self.rank()[0][:, :3])

    def test_more_than_there_are_end_in_nothing(self) -> None:
        items, scores = self.rank(k=12)
        assert items[:, 10:].unique().tolist() == [-1]
        assert bool((scores[:, 10:] == -torch.inf).all())

    def test_seen_items_are_left_out_where_that_is_asked(self) -> None:
        items, _ = self.rank(exclude_seen=np.array([True, False, True, True]))
        for row, history, n in zip(items.tolist(), HISTORIES, (7, 10, 4, 8), strict=True):
            assert len([i for i in row if i >= 0]) == n
            assert n == 10 or not set(row) & set(history.tolist())

    def test_only_allowed_items_come_back(self) -> None:
        allowed = torch.arange(10) % 2 == 0
        items, _ = self.rank(allowed=allowed, exclude_seen=True)
        for row, history in zip(items.tolist(), HISTORIES, strict=True):
            assert {i for i in row if i >= 0} == {0, 2, 4, 6, 8} - set(history.tolist())
        each = allowed.repeat(4, 1)
        each[0] = ~allowed
        items, _ = self.rank(allowed=each)
        assert {i for i in items[0].tolist() if i >= 0} == {1, 3, 5, 7, 9}

    def test_a_query_alone_gets_what_it_gets_among_others(self) -> None:
        together, _ = self.rank(k=4)
        ranker = self.make()
        for i in range(4):
            alone = ranker.rank(Queries(HISTORIES.take(np.array([i])), 4)).items
            assert torch.equal(alone[0], together[i])
