"""What every baseline must do; a test of one inherits `BaselineContract` and makes it.

The data are two rings of items: who begins with an even item goes round the even ones, and so with
the odd ones. A baseline that learns from users finds the ring, one that learns from the order of
items finds the next item.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import Cut, cut_at_step, steps_done
from contract_ranker import RankerContract
from letterrec.baselines import Baseline
from letterrec.data.sequences import Histories
from letterrec.decoding.ranker import PersonalRanker, Queries, Ranker
from letterrec.training.devices import set_seed
from letterrec.training.options import TrainingOptions

N_ITEMS, N_USERS = 24, 96


def rings() -> Histories:
    """Of 96 users: eight items each, beginning anywhere."""
    starts = np.arange(N_USERS) % N_ITEMS
    return Histories.from_lists([(s + 2 * np.arange(8)) % N_ITEMS for s in starts])


class BaselineContract(RankerContract):
    """Tests of `baseline`, trained by `options`."""

    follows_order: ClassVar[bool] = True  # the next item is among the first three
    finds_taste: ClassVar[bool] = True  # the five best are of the history's ring
    is_trained: ClassVar[bool] = True  # by the loop, in steps

    def baseline(self, n_users: int, n_items: int) -> Baseline:
        """A small untrained one that reads at least four items."""
        raise NotImplementedError

    def options(self) -> TrainingOptions:
        """Those under which it learns the rings in about a second."""
        return TrainingOptions(epochs=15, batch_size=32, learning_rate=1e-2)

    def make(self) -> Ranker:
        set_seed(0)
        return PersonalRanker(self.baseline(4, 10).eval(), torch.device("cpu"))

    def seeded(self) -> Baseline:
        set_seed(0)
        return self.baseline(N_USERS, N_ITEMS)

    def fit(self, folder: Path | None = None, epochs: int | None = None) -> Baseline:
        model, options = self.seeded(), self.options()
        length = options.epochs if epochs is None else epochs
        model.fit(rings(), TrainingOptions(**{**vars(options), "folder": folder, "epochs": length}))
        return model.eval()

    @pytest.fixture(scope="class")
    def trained_baseline(self) -> Baseline:
        return self.fit()

    def asked(self, model: Baseline, users: np.ndarray | None) -> Tensor:
        rounds = rings()
        histories = rounds.slice(rounds.offsets[:-1], rounds.offsets[1:] - 3)
        queries = Queries(histories, 5, exclude_seen=True, users=users)
        return PersonalRanker(model, torch.device("cpu")).rank(queries).items

    def test_the_ring_of_a_history_is_found(self, trained_baseline: Baseline) -> None:
        if not self.finds_taste:
            pytest.skip("it learns the next item, or nothing of users")
        ring = torch.arange(N_USERS)[:, None] % 2
        for users in (np.arange(N_USERS), np.full(N_USERS, -1), None):
            found = self.asked(trained_baseline, users)
            assert ((found % 2) == ring).float().mean() > 0.9  # a guess has 0.5

    def test_the_next_item_is_among_the_first(self, trained_baseline: Baseline) -> None:
        if not self.follows_order:
            pytest.skip("the order of items is not read")
        following = (torch.arange(N_USERS)[:, None] + 10) % N_ITEMS
        for users in (np.arange(N_USERS), None):
            found = self.asked(trained_baseline, users)[:, :3]  # of 19: a guess has 0.16
            assert (found == following).any(1).float().mean() > 0.8

    def test_a_user_of_no_row_is_nobody(self, trained_baseline: Baseline) -> None:
        histories = torch.tensor([[0, 2, -1], [5, 7, 9]])
        nobody = trained_baseline.scores(histories, torch.tensor([-1, -1]))
        assert torch.allclose(nobody, trained_baseline.scores(histories), atol=1e-5)

    def test_scores_are_finite_whatever_is_asked(self, trained_baseline: Baseline) -> None:
        for histories in ([[0, 2, -1], [-1, -1, -1]], [[], []]):
            asked = torch.tensor(histories, dtype=torch.int64)
            for users in (torch.tensor([3, -1]), None):
                scores = trained_baseline.scores(asked, users)
                assert scores.shape == (2, N_ITEMS)
                assert scores.dtype == torch.float32
                assert bool(scores.isfinite().all())

    def test_its_state_is_all_that_was_learned(self, trained_baseline: Baseline) -> None:
        other = self.baseline(N_USERS, N_ITEMS)
        other.load_state_dict(trained_baseline.state_dict())
        histories, users = torch.tensor([[0, 2, 4], [5, 7, -1]]), torch.tensor([0, -1])
        assert torch.equal(
            other.eval().scores(histories, users), trained_baseline.scores(histories, users)
        )

    def test_it_scores_as_it_did_when_it_was_validated_best(self) -> None:
        histories, users = torch.tensor([[0, 2, 4], [5, 7, -1]]), torch.tensor([0, -1])
        model, seen = self.seeded(), list[Tensor]()

        def validate() -> dict[str, float]:
            seen.append(model.scores(histories, users).clone())
            return {"ndcg@10": float(len(seen) == 2)}

        options = TrainingOptions(**{**vars(self.options()), "epochs": 3})
        log = model.fit(rings(), options, validate=validate)
        if self.is_trained:
            assert log.best_epoch == 1
            assert torch.equal(model.scores(histories, users), seen[1])

    @pytest.mark.slow
    def test_cut_short_and_resumed_is_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not self.is_trained:
            pytest.skip("there is no training to be cut")
        whole = self.fit(tmp_path / "whole", epochs=2)
        with monkeypatch.context() as patch:
            cut_at_step(patch, 2)
            with pytest.raises(Cut):
                self.fit(tmp_path / "cut", epochs=2)
        assert steps_done(tmp_path / "cut") == 2
        resumed = self.fit(tmp_path / "cut", epochs=2)
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, resumed.state_dict()[name]), name
