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
from letterrec.errors import RunError
from letterrec.files.tensors import read_tensors, write_tensors
from letterrec.linear.transitions import Transitions

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
