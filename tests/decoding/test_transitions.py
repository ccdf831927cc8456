"""Which item follows which, and what is retrieved for a history."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from letterrec.data.sequences import Histories
from letterrec.decoding.transitions import Transitions, similarity_of
from letterrec.errors import RunError
from letterrec.files import read_tensors, write_tensors

HISTORIES = Histories.from_lists([[0, 1, 2, 3], [0, 1], [4], [], [1, 0]])


def counted(steps: int = 1, backwards: float = 0.0) -> np.ndarray:
    """The counts, before the square root of a row's evidence divides them."""
    transitions = Transitions.count(HISTORIES, 6, steps=steps, backwards=backwards)
    rows = transitions.counts.toarray()
    sums = rows.sum(1, keepdims=True)  # row / sqrt(total + 1) = known: solve for the total
    totals = (sums**2 + np.sqrt(sums**4 + 4 * sums**2)) / 2
    return np.asarray(rows * np.sqrt(totals + 1))


def test_counts_what_follows_within_a_sequence() -> None:
    expected = np.zeros((6, 6))
    expected[0, 1], expected[1, 2], expected[2, 3], expected[1, 0] = 2, 1, 1, 1
    assert counted() == pytest.approx(expected, abs=1e-5)


def test_later_steps_count_half_and_backwards_its_share() -> None:
    expected = np.zeros((6, 6))
    for sequence in HISTORIES:
        for i, before in enumerate(sequence):
            for step, after in enumerate(sequence[i + 1 : i + 3]):
                expected[before, after] += 0.5**step
                expected[after, before] += 0.5**step * 0.3
    assert counted(steps=2, backwards=0.3) == pytest.approx(expected, abs=1e-5)


def lines_of(items: torch.Tensor, shares: torch.Tensor) -> list[Any]:
    """For each history, the share of each item that is remembered."""
    lines = zip(items.tolist(), shares.tolist(), strict=True)
    return [{i: s for i, s in zip(*line, strict=True) if s > 0} for line in lines]


def test_recalls_what_followed_the_latest_items_most() -> None:
    transitions = Transitions.count(HISTORIES, 6, steps=1, backwards=0.0)
    one = Transitions(transitions.counts, decay=0.5, weight=0.4)
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
    counts = Transitions.count(HISTORIES, 6, steps=1, backwards=0.0).counts
    follow = partial(Transitions, counts, decay=1.0, weight=0.4)
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
    counted = Transitions.count(HISTORIES, 6, backwards=0.0)
    known = Transitions(counted.counts, like=2.0, decay=0.5, weight=0.4)
    grown = known.grown(content, new)
    before, after = known.counts.toarray(), grown.counts.toarray()
    assert (after[:6, :6] == before).all()
    half = np.eye(6)[[0, 1]].mean(0)  # of the similarity of the first
    assert after[6, :6] == pytest.approx(before[:2].mean(0) + 2 * half, abs=0.01)
    assert after[:6, 7] == pytest.approx(before[:, 1] + 0.5 * np.eye(6)[1], abs=0.01)
    assert after[7, 6] == pytest.approx(before[1, :2].mean(), abs=0.01)
    assert (grown.like, grown.decay, grown.weight) == (2.0, 0.5, 0.4)
    items, shares = grown.retrieve(torch.tensor([[0]]))
    assert 7 in items[shares > 0]


def test_like_items_count_as_following() -> None:
    similarity = similarity_of(np.eye(6, 3, dtype=np.float32) + 0.01, np.arange(6))
    assert similarity.toarray().sum(1) == pytest.approx(np.ones(6))
    assert similarity.toarray().diagonal() == pytest.approx(np.zeros(6))
    transitions = Transitions.count(HISTORIES, 6).with_like(similarity, 4.0)
    plain = Transitions.count(HISTORIES, 6).counts.toarray()
    assert transitions.counts.toarray() == pytest.approx(plain + 4 * similarity.toarray())
    assert transitions.with_like(similarity, 0.0).counts.toarray() == pytest.approx(plain, abs=1e-5)


def test_keeps_the_most_frequent_followers() -> None:
    often = [[0, i] for i in range(1, 301) for _ in range(1 + (i > 100))]
    counts = Transitions.count(Histories.from_lists(often), 301, backwards=0.0).counts
    assert sorted(counts[[0]].indices.tolist()) == list(range(101, 301))


def test_the_strengths_that_score_best_are_chosen() -> None:
    transitions = Transitions.count(HISTORIES, 6)
    similarity = similarity_of(np.eye(6, dtype=np.float32), np.arange(6))

    def score(one: Transitions) -> float:
        away = (one.like - 4, one.seen, one.decay - 0.7, one.weight - 0.3)
        return -sum(map(abs, away))

    chosen = transitions.chosen(score, similarity)
    assert chosen.strength == {"like": 4, "seen": 0, "decay": 0.7, "weight": 0.3}
    assert transitions.chosen(score).like == 0
    assert transitions.chosen(lambda one: one.seen).seen == 1
    assert transitions.chosen(lambda one: -one.weight).weight == 0


def test_reads_what_it_wrote(tmp_path: Path) -> None:
    counts = Transitions.count(HISTORIES, 6).counts
    path = tmp_path / "t.safetensors"
    kept = Transitions(counts, like=2.0, seen=0.0, decay=0.7, weight=0.3)
    kept.save(path, {"items": "abc"})
    again = Transitions.load(path)
    assert (again.counts != counts).nnz == 0
    assert again.strength == kept.strength


def test_reads_what_was_written_before_seen_was_chosen(tmp_path: Path) -> None:
    kept = Transitions(Transitions.count(HISTORIES, 6).counts, like=2.0, decay=0.7, weight=0.3)
    path = tmp_path / "t.safetensors"
    kept.save(path, {})
    tensors, about = read_tensors(path)
    write_tensors(path, tensors, {name: about[name] for name in ("like", "decay", "weight")})
    assert Transitions.load(path).strength == kept.strength


def test_indices_out_of_range_are_damage(tmp_path: Path) -> None:
    """SciPy would follow them out of the memory, and end the process."""
    path = tmp_path / "transitions.safetensors"
    Transitions.count(Histories.from_lists([[0, 1, 2]]), 3).save(path, {})
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
