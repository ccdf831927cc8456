"""Constraints: counts of valid items below the nodes of the trie, against a plain enumeration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from letterrec.decoding.constraints import Constraints
from letterrec.decoding.trie import Trie
from letterrec.identifiers.identifiers import Identifiers
from letterrec.linear.retrieved import Retrieved

N, USERS = 30, 3
RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 4, (N, 3)).astype(np.int32)  # some items share an identifier
SEEN = torch.from_numpy(RNG.integers(-1, N, (USERS, 12)))  # some of them twice
ALLOWED = {
    "all": None,
    "the same for everyone": torch.from_numpy(RNG.random(N) < 0.6),
    "each their own": torch.from_numpy(RNG.random((USERS, N)) < 0.6),
}


@pytest.fixture(params=ALLOWED)
def allowed(request: pytest.FixtureRequest) -> Tensor | None:
    return ALLOWED[request.param]


@pytest.fixture
def trie() -> Trie:
    return Trie.build(Identifiers(CODES, (4, 4, 4)))


def allowed_of(user: int, allowed: Tensor | None) -> set[int]:
    if allowed is None:
        return set(range(N))
    flags = allowed if allowed.dim() == 1 else allowed[user]
    return set(torch.nonzero(flags).flatten().tolist())


def below(trie: Trie, level: int, node: int) -> set[int]:
    start, stop = trie.first_item[level][node : node + 2].tolist()
    return set(trie.items[start:stop].tolist())


def test_allowed_items_below_a_node_are_counted(trie: Trie, allowed: Tensor | None) -> None:
    constraints = Constraints.of(trie, None, allowed)
    for level in range(4):
        nodes = torch.arange(trie.n_nodes(level)).expand(USERS, -1)
        counts = constraints.n_allowed(level, nodes)
        assert counts.tolist() == [
            [len(below(trie, level, n) & allowed_of(user, allowed)) for n in row]
            for user, row in enumerate(nodes.tolist())
        ]


def test_nodes_whose_allowed_items_are_all_seen_are_found(
    trie: Trie, allowed: Tensor | None
) -> None:
    constraints = Constraints.of(trie, SEEN, allowed)
    for level in range(4):
        found = constraints.nodes_seen(level)
        assert found is not None
        for user, row in enumerate(found.tolist()):
            left = allowed_of(user, allowed)
            seen = set(SEEN[user].tolist())
            expected = [
                node
                for node in range(trie.n_nodes(level))
                if (items := below(trie, level, node) & left) and items <= seen
            ]
            assert [n for n in row if n < trie.n_nodes(level)] == expected
    assert Constraints.of(trie, None, allowed).nodes_seen(1) is None


def test_retrieved_items_that_are_seen_or_not_allowed_are_left_out(
    trie: Trie, allowed: Tensor | None
) -> None:
    items = torch.arange(N).expand(USERS, -1)
    constraints = Constraints.of(trie, SEEN, allowed)
    kept = constraints.among(Retrieved(items, torch.ones(USERS, N))).items
    valid = [allowed_of(user, allowed) - set(SEEN[user].tolist()) for user in range(USERS)]
    assert [[i for i in row if i >= 0] for row in kept.tolist()] == [sorted(v) for v in valid]
    part = constraints.rows(1, 2).among(Retrieved(items[1:2], torch.ones(1, N))).items
    assert torch.equal(part, kept[1:2])
