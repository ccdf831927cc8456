"""What every recommender must do; a recommender's test inherits `RecommenderContract`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import Cut, cut_at_step, steps_done
from letterrec.data.sequences import Histories
from letterrec.decoding.beam_search import search
from letterrec.decoding.ranker import GenerativeRanker, Queries
from letterrec.decoding.trie import Trie
from letterrec.identifiers.identifiers import Identifiers
from letterrec.training.options import TrainingOptions
from ranking import assert_same_rankings

N_ITEMS = 16
MAX_HISTORY = 6
SIZES = (4, 4, 4)

# Shorter identifiers beside longer ones, and leaves of two and three items.
MIXED = Identifiers(
    np.array(
        [
            *([0, -1, -1], [1, 0, -1], [1, 1, 0], [1, 1, 3], [1, 2, 2], [2, 0, 0], [2, 0, 1]),
            *([3, -1, -1], [1, 1, 3], [2, 3, 1], [2, 0, 1], [1, 1, 3], [2, 1, -1], [2, 2, 0]),
        ],
        dtype=np.int32,
    ),
    SIZES,
)


def planted_identifiers() -> Identifiers:
    """One item per identifier, in no order."""
    every = np.stack(np.unravel_index(np.arange(64), SIZES), 1)
    rows = np.random.default_rng(0).permutation(64)[:N_ITEMS]
    return Identifiers(every[rows].astype(np.int32), SIZES)


def planted_histories() -> Histories:
    """Item ``i`` is always followed by item ``i + 1``, the last by the first."""
    rng = np.random.default_rng(0)
    starts, lengths = rng.integers(0, N_ITEMS, 60), rng.integers(2, 10, 60)
    return Histories.from_lists(
        [(np.arange(n) + s) % N_ITEMS for s, n in zip(starts, lengths, strict=True)]
    )


def random_histories(n: int, n_items: int, longest: int = MAX_HISTORY) -> Tensor:
    """int64 ``(n, longest)``: left-aligned item rows of different lengths, at least one each."""
    rng = np.random.default_rng(1)
    rows = torch.from_numpy(rng.integers(0, n_items, (n, longest)))
    lengths = torch.from_numpy(rng.integers(1, longest + 1, (n, 1)))
    return rows.masked_fill(torch.arange(longest) >= lengths, -1)


class RecommenderContract:
    """Inherit, and say how to make a small recommender that learns the planted order fast."""

    training: ClassVar[Mapping[str, Any]]  # keywords of `fit` that suffice for the planted order

    def make(self, identifiers: Identifiers) -> Any:
        """A small recommender that reads `MAX_HISTORY` items."""
        raise NotImplementedError

    def teacher_forced(
        self, recommender: Any, history: Tensor, trie: Trie, codes: list[int]
    ) -> float:
        """The log-probability of an identifier after a history ``(n,)``, without any search: that
        of its codes, mixed with what the decoder retrieved.
        """
        decoder = recommender.encode(history[None])
        total = 0.0
        for level, code in enumerate(codes):
            log_probs = decoder.log_probs()[0, 0]
            if decoder.over_legal:
                legal = self.legal(trie, codes[:level])
                log_probs = log_probs - log_probs[legal].logsumexp(0)
            total += float(log_probs[code])
            if level + 1 < len(codes):
                decoder.advance(torch.zeros(1, 1, dtype=torch.int64), torch.tensor([[code]]))
        if decoder.retrieved is not None:
            items, shares = decoder.retrieved
            first, last = trie.first_item[len(codes)][self.node(trie, codes) :][:2].tolist()
            own = torch.isin(items, trie.items[first:last])
            mass = float((shares * own).sum())
            total = math.log(mass + (1 - float(shares.sum())) * math.exp(total))
        return total

    def node(self, trie: Trie, prefix: list[int]) -> int:
        """The number of a prefix among those of its level."""
        node = 0
        for level, code in enumerate(prefix):
            first, last = trie.first_child[level][node : node + 2].tolist()
            node = first + trie.codes[level + 1][first:last].tolist().index(code)
        return node

    def legal(self, trie: Trie, prefix: list[int]) -> list[int]:
        """The codes that may follow a prefix."""
        node, level = self.node(trie, prefix), len(prefix)
        first, last = trie.first_child[level][node : node + 2].tolist()
        codes: list[int] = trie.codes[level + 1][first:last].tolist()
        return codes

    def random(self, identifiers: Identifiers, seed: int = 0) -> Any:
        """A recommender of random weights, larger than those that training starts from."""
        torch.manual_seed(seed)
        recommender = self.make(identifiers).eval()
        with torch.no_grad():
            for parameter in (p for p in recommender.parameters() if p.requires_grad):
                parameter.add_(torch.randn(parameter.shape) * parameter.std(correction=0).add(0.05))
        return recommender

    @pytest.fixture(scope="class")
    def fitted(self) -> Any:
        torch.manual_seed(0)
        recommender = self.make(planted_identifiers())
        recommender.fit(planted_histories(), TrainingOptions(seed=0, **self.training))
        return recommender

    @pytest.mark.slow
    def test_learns_the_planted_order(self, fitted: Any) -> None:
        histories = torch.arange(N_ITEMS)[:, None] + torch.arange(3)
        trie = Trie.build(planted_identifiers())
        items, log_probs = search(fitted.encode(histories % N_ITEMS), trie, beam=5, k=1)
        hits = (items[:, 0] == (torch.arange(N_ITEMS) + 3) % N_ITEMS).float().mean()
        assert hits >= 0.95
        assert log_probs.exp().mean() > 0.5

    @pytest.mark.parametrize("identifiers", [planted_identifiers(), MIXED], ids=["fixed", "mixed"])
    def test_a_beam_as_wide_as_the_catalogue_ranks_every_item(
        self, identifiers: Identifiers
    ) -> None:
        recommender, trie = self.random(identifiers), Trie.build(identifiers)
        n = identifiers.n_items
        histories = random_histories(3, n)
        items, log_probs = search(recommender.encode(histories), trie, beam=n, k=n)
        for history, row, scores in zip(histories, items, log_probs, strict=True):
            assert sorted(row.tolist()) == list(range(n))
            assert bool((scores.diff() <= 0).all())
            for item, score in zip(row.tolist(), scores.tolist(), strict=True):
                codes = [c for c in identifiers.codes[item].tolist() if c >= 0]
                alone = self.teacher_forced(recommender, history[history >= 0], trie, codes)
                assert score == pytest.approx(alone, abs=1e-4)

    def test_a_narrow_beam_gives_true_scores_of_likely_items(self) -> None:
        identifiers = planted_identifiers()
        recommender, trie = self.random(identifiers), Trie.build(identifiers)
        histories = random_histories(4, N_ITEMS)
        wide = search(recommender.encode(histories), trie, beam=N_ITEMS, k=N_ITEMS)
        items, log_probs = search(recommender.encode(histories), trie, beam=6, k=6)
        by_item = torch.empty_like(wide[1]).scatter_(1, wide[0], wide[1])
        torch.testing.assert_close(log_probs, by_item.gather(1, items), atol=1e-4, rtol=0)
        assert bool((items[:, :1] == wide[0][:, :3]).any(1).all())

    def test_seen_and_allowed_leave_k_valid_items(self) -> None:
        recommender, trie = self.random(MIXED), Trie.build(MIXED)
        n = MIXED.n_items
        histories = random_histories(6, n)
        seen = histories
        allowed = torch.arange(n) % 3 != 0
        items, log_probs = search(
            recommender.encode(histories), trie, beam=1, k=4, seen=seen, allowed=allowed
        )
        for row, scores, gone in zip(items.tolist(), log_probs, seen.tolist(), strict=True):
            valid = {i for i in range(n) if allowed[i]} - set(gone)
            found = [i for i in row if i >= 0]
            assert len(found) == len(set(found)) == min(4, len(valid))
            assert set(found) <= valid
            assert bool(scores[: len(found)].isfinite().all())

    def test_items_of_one_identifier_stand_together_by_popularity(self) -> None:
        popularity = np.arange(MIXED.n_items)
        trie = Trie.build(MIXED, popularity)
        items, log_probs = search(
            self.random(MIXED).encode(random_histories(3, MIXED.n_items)), trie, beam=20, k=14
        )
        for row, scores in zip(items.tolist(), log_probs.tolist(), strict=True):
            at = row.index(11)
            assert row[at : at + 3] == [11, 8, 3]
            assert scores[at] == scores[at + 1] == scores[at + 2]

    def test_the_batch_and_its_padding_change_nothing(self) -> None:
        identifiers = planted_identifiers()
        recommender, trie = self.random(identifiers), Trie.build(identifiers)
        histories = random_histories(7, N_ITEMS, MAX_HISTORY - 2)
        together = search(recommender.encode(histories), trie, beam=8, k=8)
        wider = torch.nn.functional.pad(histories, (0, 2), value=-1)
        padded = search(recommender.encode(wider), trie, beam=8, k=8)
        assert_same_rankings(padded, together)
        for row, history in enumerate(histories):
            alone = search(recommender.encode(history[history >= 0][None]), trie, beam=8, k=8)
            assert_same_rankings(alone, (together[0][row, None], together[1][row, None]))

    def test_reads_the_latest_items_of_long_histories(self) -> None:
        identifiers = planted_identifiers()
        ranker = GenerativeRanker(self.random(identifiers), Trie.build(identifiers), beam=8)
        long = [list(range(MAX_HISTORY + 4)), [3, 1], [*range(N_ITEMS), 5]]
        full = ranker.rank(Queries(Histories.from_lists(long), 8))
        short = ranker.rank(Queries(Histories.from_lists([h[-MAX_HISTORY:] for h in long]), 8))
        assert_same_rankings(full[:2], short[:2])
        other = ranker.rank(Queries(Histories.from_lists([h[:MAX_HISTORY] for h in long]), 8))
        assert not torch.equal(full.scores[0], other.scores[0])

    @pytest.mark.slow
    def test_saved_weights_give_the_same_scores(self, fitted: Any) -> None:
        other = self.random(planted_identifiers(), seed=1)
        other.load_state_dict(fitted.state_dict(), strict=True)
        histories, trie = random_histories(4, N_ITEMS), Trie.build(planted_identifiers())
        expected = search(fitted.encode(histories), trie, beam=8, k=8)
        got = search(other.encode(histories), trie, beam=8, k=8)
        assert torch.equal(got[0], expected[0])
        assert torch.equal(got[1], expected[1])

    def test_goes_on_with_a_larger_catalogue(self) -> None:
        old = planted_identifiers()
        recommender = self.random(old)
        taken = {tuple(c) for c in old.codes.tolist()}
        new = next(c for c in np.ndindex(*SIZES) if c not in taken)
        grown = Identifiers(np.vstack([old.codes, [new]]).astype(np.int32), SIZES)
        recommender.set_catalogue(grown)
        trie = Trie.build(grown)
        history = torch.tensor([[N_ITEMS, 3, N_ITEMS]])
        items, log_probs = search(recommender.encode(history), trie, beam=30, k=N_ITEMS + 1)
        assert sorted(items[0].tolist()) == list(range(N_ITEMS + 1))
        at = items[0].tolist().index(N_ITEMS)
        alone = self.teacher_forced(recommender, history[0], trie, list(new))
        assert float(log_probs[0, at]) == pytest.approx(alone, abs=1e-4)

    @pytest.mark.slow
    def test_the_same_seed_gives_the_same_weights(self) -> None:
        weights = [self._weights_after(seed=3, epochs=1) for _ in range(2)]
        assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
        other = self._weights_after(seed=4, epochs=1)
        assert any(not torch.equal(weights[0][k], other[k]) for k in other)

    @pytest.mark.slow
    def test_a_resumed_fit_equals_an_uninterrupted_one(self, tmp_path: Path) -> None:
        expected = self._weights_after(seed=0, epochs=3)
        with pytest.raises(KeyboardInterrupt):
            self._weights_after(seed=0, epochs=3, folder=tmp_path, interrupt_at=2)
        resumed = self._weights_after(seed=0, epochs=3, folder=tmp_path)
        assert all(torch.equal(resumed[k], expected[k]) for k in expected)

    @pytest.mark.slow
    def test_a_fit_cut_within_an_epoch_equals_an_uninterrupted_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = self._weights_after(seed=0, epochs=3)
        stood_within = []
        for count in (3, 4, 4):  # steps of a sitting
            with monkeypatch.context() as patch:
                cut_at_step(patch, count)
                with pytest.raises(Cut):
                    self._weights_after(seed=0, epochs=3, folder=tmp_path)
            stood_within.append(steps_done(tmp_path) > 0)
        torch.rand(7)  # another random state than the first sitting's
        assert any(stood_within)
        resumed = self._weights_after(seed=0, epochs=3, folder=tmp_path)
        assert all(torch.equal(resumed[k], expected[k]) for k in expected)

    def _weights_after(
        self, *, seed: int, epochs: int, folder: Path | None = None, interrupt_at: int | None = None
    ) -> dict[str, Tensor]:
        """Weights after a fit that starts from the same weights each time."""
        torch.manual_seed(0)
        recommender = self.make(planted_identifiers())
        validations = 0

        def validate() -> dict[str, float]:
            nonlocal validations
            validations += 1
            if validations == interrupt_at:
                raise KeyboardInterrupt
            return {"recall@10": float(validations)}

        settings = {**self.training, "epochs": epochs, "criterion": "recall@10"}
        histories = planted_histories().take(np.arange(30))
        recommender.fit(
            histories, TrainingOptions(folder=folder, seed=seed, **settings), validate=validate
        )
        return {k: v.clone() for k, v in recommender.state_dict().items()}
