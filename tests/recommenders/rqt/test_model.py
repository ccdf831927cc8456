from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from contract_recommender import (
    MAX_HISTORY,
    MIXED,
    N_ITEMS,
    SIZES,
    RecommenderContract,
    planted_histories,
    planted_identifiers,
    random_histories,
)
from letterrec.data.sequences import Histories
from letterrec.decoding.beam_search import search
from letterrec.decoding.trie import Trie
from letterrec.identifiers.identifiers import Identifiers
from letterrec.recommenders.rqt.model import Rqt
from letterrec.training.options import TrainingOptions

SMALL: dict[str, Any] = {"max_history": MAX_HISTORY, "dim": 32, "heads": 2, "depth_layers": 1}


class TestRqt(RecommenderContract):
    training: ClassVar = {"epochs": 15, "batch_size": 16, "learning_rate": 1e-2}

    def make(self, identifiers: Identifiers) -> Rqt:
        return Rqt(identifiers, **SMALL, dropout=0.05)


class TestRqtWithContent(RecommenderContract):
    """Content embeddings in, no item embeddings."""

    training: ClassVar = {"epochs": 15, "batch_size": 16, "learning_rate": 1e-2}

    def make(self, identifiers: Identifiers) -> Rqt:
        content = torch.randn(identifiers.n_items, 5, generator=torch.Generator().manual_seed(0))
        return Rqt(identifiers, content, **SMALL, dropout=0.05, item_embedding=False)

    def test_goes_on_with_a_larger_catalogue(self) -> None:
        """A new item is read by its codes and content alone."""
        recommender = self.random(planted_identifiers())
        old = planted_identifiers().codes
        taken = {tuple(c) for c in old.tolist()}
        new = next(c for c in np.ndindex(*SIZES) if c not in taken)
        grown = Identifiers(np.vstack([old, [new]]).astype(np.int32), SIZES)
        recommender.set_catalogue(grown, torch.cat([recommender.content, torch.ones(1, 5)]))
        items, _ = search(
            recommender.encode(torch.tensor([[N_ITEMS]])), Trie.build(grown), beam=30, k=N_ITEMS + 1
        )
        assert sorted(items[0].tolist()) == list(range(N_ITEMS + 1))


@pytest.mark.parametrize("identifiers", [planted_identifiers(), MIXED], ids=["fixed", "mixed"])
def test_the_probabilities_of_all_identifiers_sum_to_one(identifiers: Identifiers) -> None:
    recommender = TestRqt().random(identifiers)
    n = identifiers.n_items
    items, log_probs = search(
        recommender.encode(random_histories(5, n)), Trie.build(identifiers), beam=n, k=n
    )
    first = np.unique(identifiers.codes, axis=0, return_index=True)[1]  # one item an identifier
    own = torch.isin(items, torch.from_numpy(first))
    totals = (log_probs.exp() * own).sum(1)
    torch.testing.assert_close(totals, torch.ones(5), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("share", "part"), [(0.0, "codes"), (1 - 1e-6, "items")])
def test_the_loss_is_the_mean_log_probability_of_the_items(share: float, part: str) -> None:
    """Training (all positions at once) and search (one history) agree on an item's score: that of
    the codes, and that of the softmax over items.
    """
    identifiers = planted_identifiers()
    recommender = TestRqt().random(identifiers)
    recommender.item_share = share
    trie = Trie.build(identifiers)
    sequence = planted_histories()[0][:6].astype(np.int64)
    expected = []
    for end in range(1, len(sequence)):
        history = torch.from_numpy(sequence[None, :end])
        items, log_probs = search(recommender.encode(history), trie, beam=N_ITEMS, k=N_ITEMS)
        expected.append(float(log_probs[0][items[0] == int(sequence[end])]))
    with torch.no_grad():
        loss = recommender(torch.from_numpy(sequence[None]))[part]
    assert float(loss) == pytest.approx(-np.mean(expected), abs=1e-4)


def test_a_history_is_encoded_as_in_training() -> None:
    """Encoding does the last layer's work for the latest item alone; the result is the same."""
    recommender = TestRqt().random(planted_identifiers())
    histories = torch.tensor([[3, 1, 4, -1], [5, -1, -1, -1], [9, 2, 6, 5]])
    latest = torch.tensor([2, 0, 3])
    expected = recommender.read(histories)[torch.arange(3), latest]
    hidden = recommender.encode(histories)._hidden
    torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=1e-4)


def test_without_a_softmax_over_items_there_are_codes_alone() -> None:
    """As of runs that earlier versions made: no weights of it, no share in the ranking."""
    identifiers = planted_identifiers()
    torch.manual_seed(0)
    recommender = Rqt(identifiers, **SMALL, item_weight=0.0).eval()
    assert not any(name.startswith("item_query") for name in recommender.state_dict())
    assert recommender.encode(random_histories(3, N_ITEMS)).retrieved is None
    assert set(recommender(torch.tensor([[1, 2, 3]]))) == {"loss"}


def test_the_softmax_over_items_follows_the_weights_and_the_catalogue() -> None:
    """What is kept of it between two queries is made anew where either changes."""
    recommender = TestRqt().random(planted_identifiers())
    histories = random_histories(3, N_ITEMS)
    before = recommender.encode(histories).retrieved
    other = TestRqt().random(planted_identifiers(), seed=1)
    recommender.load_state_dict(other.state_dict())
    recommender.eval()
    after = recommender.encode(histories).retrieved
    assert not torch.equal(before.shares, after.shares)
    torch.testing.assert_close(after.shares, other.encode(histories).retrieved.shares)
    smaller = Identifiers(planted_identifiers().codes[:5], SIZES)
    recommender.set_catalogue(smaller)
    assert recommender.encode(torch.tensor([[1, 2]])).retrieved.items.max() < 5


def test_where_items_are_taken_once_the_softmax_over_items_leaves_out_the_history() -> None:
    identifiers, options = planted_identifiers(), TrainingOptions(epochs=1, batch_size=8)
    once = Histories.from_lists([[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]])
    again = Histories.from_lists([[0, 1, 0, 1], [4, 5, 6], [7, 8, 9]])
    histories = torch.tensor([[1, 2, -1], [3, -1, -1]])
    for sequences, left_out in ((once, {1, 2}), (again, set())):
        recommender = TestRqt().random(identifiers)
        recommender.fit(sequences, options)
        retrieved = recommender.encode(histories).retrieved
        likely = {
            item for item, share in zip(*(r[0].tolist() for r in retrieved), strict=True) if share
        }
        assert likely == set(range(N_ITEMS)) - left_out
        kept = recommender.state_dict()
        other = TestRqt().random(identifiers, seed=1)
        other.load_state_dict(kept)
        assert torch.equal(other.eval().encode(histories).retrieved.shares, retrieved.shares)


def test_training_leaves_out_what_ranking_leaves_out() -> None:
    """The loss of the softmax over items is the mean over the items that are not in the history."""
    recommender = TestRqt().random(planted_identifiers())
    recommender.taken_once.fill_(True)
    recommender.item_share = 1 - 1e-6
    sequence = [3, 1, 4, 9, 2]
    expected = []
    for end in range(1, len(sequence)):
        items, shares = recommender.encode(torch.tensor([sequence[:end]])).retrieved
        expected.append(float(shares[items == sequence[end]].log()))
    with torch.no_grad():
        loss = recommender(torch.tensor([sequence]))["items"]
    assert float(loss) == pytest.approx(-np.mean(expected), abs=1e-4)


def test_a_grown_catalogue_starts_from_what_was_learned() -> None:
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.int32)
    old = Rqt(Identifiers(codes[:3], (2, 2)), dim=8, heads=2, item_weight=0.0)
    new = Rqt(Identifiers(codes[[2, 3, 0]], (2, 2)), dim=8, heads=2)
    drawn = new.item_embedding.weight.detach().clone()  # type: ignore[union-attr]
    new.start_from(old.state_dict(), np.array([2, -1, 0]))
    assert new.item_embedding is not None
    assert old.item_embedding is not None
    torch.testing.assert_close(new.item_embedding.weight[[0, 2]], old.item_embedding.weight[[2, 0]])
    torch.testing.assert_close(new.item_embedding.weight[1], drawn[1])
    torch.testing.assert_close(new.code_embedding.weight, old.code_embedding.weight)
