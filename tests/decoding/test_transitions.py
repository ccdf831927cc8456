"""Which item follows which, and what is retrieved for a history."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from letterrec.data.sequences import Histories
from letterrec.decoding.linear import nearby, solved
from letterrec.decoding.transitions import Transitions, learned, similarity_of
from letterrec.errors import RunError
from letterrec.files import read_tensors, write_tensors

HISTORIES = Histories.from_lists([[0, 1, 2, 3], [0, 1], [4], [], [1, 0]])


def counted(backwards: float = 0.0) -> sp.csr_array:
    """How often one item followed another at once in `HISTORIES`, as earlier versions counted: rows
    divided by the square root of their sum and one.
    """
    counts = np.zeros((6, 6), dtype=np.float32)
    for sequence in HISTORIES:
        for before, after in pairwise(sequence):
            counts[before, after] += 1
            counts[after, before] += backwards
    return sp.csr_array(counts / np.sqrt(counts.sum(1, keepdims=True) + 1))


def lines_of(items: torch.Tensor, shares: torch.Tensor) -> list[Any]:
    """For each history, the share of each item that is remembered."""
    lines = zip(items.tolist(), shares.tolist(), strict=True)
    return [{i: s for i, s in zip(*line, strict=True) if s > 0} for line in lines]


def test_recalls_what_followed_the_latest_items_most() -> None:
    one = Transitions(counted(), decay=0.5, weight=0.4)
    histories = torch.tensor([[2, 1, -1], [4, -1, -1], [9, 0, -1], [1, 9, -1]])
    items, shares = one.retrieve(histories)
    assert items.dtype == torch.int64
    assert shares.dtype == torch.float32
    lines = lines_of(items, shares)
    after_2 = 0.5 / np.sqrt(2)  # one step back, seen once
    after_1 = 1 / np.sqrt(3)  # two items followed it, once each
    total = after_2 + 2 * after_1
    assert lines[0] == pytest.approx(
        {3: 0.4 * after_2 / total, 2: 0.4 * after_1 / total, 0: 0.4 * after_1 / total}
    )
    assert lines[1] == {}  # nothing ever followed
    assert lines[2] == pytest.approx({1: 0.4})  # item 9 came after training
    assert lines[3] == pytest.approx({2: 0.2, 0: 0.2})
    assert shares.sum(1).tolist() == pytest.approx([0.4, 0.0, 0.4, 0.4])


def recalled_of(transitions: Transitions, *histories: list[int], whole: Any = None) -> list[Any]:
    """What `lines_of` says of histories."""
    rows = torch.from_numpy(Histories.from_lists(histories).padded())
    if whole is not None:
        whole = torch.from_numpy(Histories.from_lists(whole).padded())
    return lines_of(*transitions.retrieve(rows, whole))


def test_items_of_the_history_count_as_much_as_seen_says() -> None:
    follow = partial(Transitions, counted(), decay=1.0, weight=0.4)
    after_2 = 1 / np.sqrt(2)  # 3, seen once
    after_1 = 1 / np.sqrt(3)  # 2 and 0, once each
    for seen in (1.0, 0.5, 0.0):
        scores = {3: after_2, 0: after_1, 2: seen * after_1}
        total = sum(scores.values())
        expected = {item: 0.4 * score / total for item, score in scores.items() if score}
        assert recalled_of(follow(seen=seen), [2, 1]) == [pytest.approx(expected)]
    never = follow(seen=0.0)
    assert [set(line) for line in recalled_of(never, [2, 1], [1])] == [{0, 3}, {0, 2}]
    whole = [[3, 2, 1], [2, 0, 1]]
    assert recalled_of(never, [2, 1], [1], whole=whole) == [pytest.approx({0: 0.4}), {}]


def test_recalls_the_same_alone_and_in_a_batch() -> None:
    """Of small whole numbers, whose sums are exact in any order: ties are ties, and must be
    broken alike.
    """
    random = np.random.default_rng(0)
    counts = random.integers(4, size=(400, 400)) * (random.random((400, 400)) < 0.3)
    transitions = Transitions(sp.csr_array(counts.astype(np.float32)), decay=0.5)
    rows = torch.from_numpy(random.integers(400, size=(20, 9)))
    items, shares = transitions.retrieve(rows)
    assert items.shape == (20, 100)
    for row in range(20):
        alone = transitions.retrieve(rows[row : row + 1, :])
        assert torch.equal(alone.items[0], items[row])
        assert torch.equal(alone.shares[0], shares[row])


def test_added_items_follow_and_are_followed_like_those_they_resemble() -> None:
    content = np.eye(6, dtype=np.float32)
    new = np.array([content[0] + content[1], content[1]], dtype=np.float32)
    known = Transitions(counted(), like=2.0, decay=0.5, weight=0.4)
    grown = known.grown(content, new)
    before, after = known.table.toarray(), grown.table.toarray()
    assert (after[:6, :6] == before).all()
    half = np.eye(6)[[0, 1]].mean(0)  # of the similarity of the first
    assert after[6, :6] == pytest.approx(before[:2].mean(0) + 2 * half, abs=0.01)
    assert after[:6, 7] == pytest.approx(before[:, 1] + 0.5 * np.eye(6)[1], abs=0.01)
    assert after[7, 6] == pytest.approx(before[1, :2].mean(), abs=0.01)
    assert (grown.like, grown.decay, grown.weight) == (2.0, 0.5, 0.4)
    items, shares = grown.retrieve(torch.tensor([[0]]))
    assert 7 in items[shares > 0]


def test_learns_what_follows_near_and_less_what_came_before() -> None:
    """Against each item's regression on the others by definition, what is negative left out."""
    transitions, similar = learned(HISTORIES, 6, window=3, backwards=0.5, ridge=2.0)
    assert similar is None
    gram, cross = (m.toarray() for m in nearby(HISTORIES, 6, 3, 0.5))
    expected = np.zeros((6, 6))
    for item in range(6):
        others = np.arange(6) != item
        regression = gram[np.ix_(others, others)] + 2 * np.eye(5)
        expected[others, item] = np.linalg.solve(regression, cross[others, item])
    assert expected.min() < 0
    assert transitions.table.toarray() == pytest.approx(expected.clip(min=0), abs=1e-5)
    assert transitions.table.toarray()[0, 1] > transitions.table.toarray()[1, 0]
    assert (transitions.table.data > 0).all()


def test_similarity_is_what_is_expected_without_data() -> None:
    """With like, the penalty is of the difference from it: as if solved with it at once."""
    content = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    similarity = similarity_of(content)
    transitions, similar = learned(HISTORIES, 6, similarity, ridge=2.0)
    assert similar is not None
    gram, cross = nearby(HISTORIES, 6, 20, 0.5)
    for like in (0.1, 0.4):
        (expected,) = solved(gram, [sp.csr_array(cross + 2 * like * similarity)], 2.0)
        assert (expected < -0.01).any()
        found = transitions.with_like(similar, like)
        assert found.like == like
        close = np.abs(found.table.toarray() - expected.clip(min=0)) < 0.02 + (expected < 0.02)
        assert close.all()
    # Item 5 was never used: as a predictor it is what similarity says, whatever the data.
    assert similar.toarray()[5] == pytest.approx(similarity.toarray()[5], abs=1e-6)
    again = found.with_like(similar, 0.0)
    assert again.table.toarray() == pytest.approx(transitions.table.toarray(), abs=1e-6)


def test_large_catalogues_are_learned_in_neighbourhoods() -> None:
    """Histories each hold the ten items of one group, so that no others are needed."""
    random = np.random.default_rng(0)
    groups = random.integers(450, size=1000)
    histories = [(g * 10 + random.permutation(10)).tolist() for g in groups]
    transitions, _ = learned(Histories.from_lists(histories), 4500, ridge=5.0)  # more than 4,096
    gram, cross = nearby(Histories.from_lists(histories), 4500, 20, 0.5)
    some = np.arange(200)
    (exact,) = solved(gram[some][:, some], [cross[some][:, some]], 5.0)
    assert transitions.table[some][:, some].toarray() == pytest.approx(exact.clip(0), abs=1e-4)
    assert transitions.table[some].nnz == transitions.table[some][:, some].nnz


def test_keeps_what_counts_most() -> None:
    often = [[0, i] for i in range(1, 301) for _ in range(1 + (i > 100))]
    content = np.eye(301, dtype=np.float32) + 0.1
    similarity = similarity_of(content)
    transitions, similar = learned(Histories.from_lists(often), 301, similarity)
    assert sorted(transitions.table[[0]].indices.tolist()) == list(range(101, 301))
    assert similar is not None
    assert np.diff(similar.indptr).max() <= 40


def test_the_strengths_that_score_best_are_chosen() -> None:
    similarity = similarity_of(np.eye(6, dtype=np.float32))
    transitions, similar = learned(HISTORIES, 6, similarity)

    def score(one: Transitions) -> float:
        away = (one.like - 0.2, one.seen, one.decay - 0.7, one.weight - 0.3)
        return -sum(map(abs, away))

    chosen = transitions.chosen(score, similar)
    assert chosen.strength == {"like": 0.2, "seen": 0, "decay": 0.7, "weight": 0.3}
    assert transitions.chosen(score).like == 0
    assert transitions.chosen(lambda one: one.seen).seen == 1
    assert transitions.chosen(lambda one: -one.weight).weight == 0


def test_strengths_chosen_for_others_are_taken_over() -> None:
    """Those of earlier versions' counts, whose ``like`` had another unit, as far as they go."""
    similarity = similarity_of(np.eye(6, dtype=np.float32))
    transitions, similar = learned(HISTORIES, 6, similarity)
    for like, taken in ((0.1, 0.1), (8.0, 0.4)):
        other = Transitions(counted(), seen=0.0, like=like, decay=0.85, weight=0.7)
        same = transitions.strong_as(other, similar)
        assert same.strength == {"seen": 0, "like": taken, "decay": 0.85, "weight": 0.7}
        assert similar is not None
        expected = transitions.table.toarray() + taken * similar.toarray()
        assert same.table.toarray() == pytest.approx(expected, abs=1e-6)
    assert transitions.strong_as(other).like == 0


def test_reads_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    kept = Transitions(counted(), like=2.0, seen=0.0, decay=0.7, weight=0.3)
    kept.save(path, {"items": "abc"})
    again = Transitions.load(path)
    assert (again.table != kept.table).nnz == 0
    assert again.strength == kept.strength


def test_reads_what_was_written_before_seen_was_chosen(tmp_path: Path) -> None:
    kept = Transitions(counted(), like=2.0, decay=0.7, weight=0.3)
    path = tmp_path / "t.safetensors"
    kept.save(path, {})
    tensors, about = read_tensors(path)
    write_tensors(path, tensors, {name: about[name] for name in ("like", "decay", "weight")})
    assert Transitions.load(path).strength == kept.strength


def test_indices_out_of_range_are_damage(tmp_path: Path) -> None:
    """SciPy would follow them out of the memory, and end the process."""
    path = tmp_path / "transitions.safetensors"
    Transitions(counted()).save(path, {})
    tensors, about = read_tensors(path)
    for name, wrong in (
        ("items", tensors["items"] + 100_000),
        ("items", tensors["items"] - 3),
        ("items", tensors["items"].float()),
        ("offsets", tensors["offsets"].flip(0)),
        ("offsets", tensors["offsets"] * 1000),
        ("counts", tensors["counts"][:1]),
        ("counts", tensors["counts"].to(torch.complex64)),
    ):
        write_tensors(path, tensors | {name: wrong}, about)
        with pytest.raises(RunError, match="is damaged"):
            Transitions.load(path)


def test_the_origins_of_shares_add_up_to_them() -> None:
    table = sp.random_array((8, 8), density=0.5, rng=np.random.default_rng(1), format="csr")
    transitions = Transitions(table.astype(np.float32), seen=0.5, decay=0.7, weight=0.6)
    history = [3, 1, 9, 4]  # row 9 has come after training
    retrieved = transitions.retrieve(torch.tensor([history]))
    (line,) = lines_of(*retrieved)
    origins = transitions.origins(history, list(range(8)), retrieved)
    assert origins.shape == (4, 8)
    assert not origins[2].any()
    assert origins.sum(0) == pytest.approx([line.get(i, 0) for i in range(8)], abs=1e-6)
    dense = transitions.table.toarray()
    for item in range(8):
        if dense[3, item] and dense[4, item]:
            expected = 0.7**3 * dense[3, item] / dense[4, item]
            assert origins[0, item] / origins[3, item] == pytest.approx(expected, rel=1e-4)
