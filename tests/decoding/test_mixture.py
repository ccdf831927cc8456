"""The mixture of retrieved items and the recommender, against sums over the items of a prefix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from letterrec.decoding.mixture import Mixture
from letterrec.decoding.trie import Trie
from letterrec.identifiers.identifiers import Identifiers
from letterrec.linear.retrieved import Retrieved

CODES = np.array([[0, 0], [0, 1], [1, 0], [1, 2], [1, 2]], dtype=np.int32)  # 3 and 4 share one
RETRIEVED = Retrieved(
    torch.tensor([[4, 1, -1], [2, -1, -1]]), torch.tensor([[0.3, 0.2, 9], [0.5, 9, 9]])
)


@pytest.mark.parametrize("tables", [True, False])
def test_a_child_has_the_shares_of_the_items_below_it(tables: bool) -> None:
    trie = Trie.build(Identifiers(CODES, (2, 3)))
    if not tables:  # as at the large levels of large catalogues
        trie = replace(trie, tables=(None, None))
    mixture = Mixture.of(trie, RETRIEVED)
    own = torch.tensor([0.4, 0.6]).log().expand(2, 1, 2)
    root = torch.zeros(2, 1, dtype=torch.int64)
    root = mixture.mixed(0, root, torch.ones_like(root, dtype=torch.bool), own).exp()
    # what is left for the recommender is 0.5 of each user
    expected = [[0.5 * 0.4 + 0.2, 0.5 * 0.6 + 0.3], [0.5 * 0.4, 0.5 * 0.6 + 0.5]]
    torch.testing.assert_close(root[:, 0], torch.tensor(expected))

    nodes = torch.tensor([[1, 0, 0], [1, 0, 0]])  # the prefixes 1 and 0, and none
    is_prefix = torch.tensor([True, True, False]).expand(2, 3)
    own = torch.tensor([[0.1, 0.2, 0.3], [0.05, 0.15, 0.2], [0.1, 0.1, 0.1]])
    own = own[:, : 3 if tables else 2]
    below = mixture.mixed(1, nodes, is_prefix, own.log().expand(2, 3, -1)).exp()
    last = 2 if tables else 1  # the place of 1, 2: by its code, or after 1, 0
    shares = torch.zeros(2, 3, own.shape[1])
    shares[0, 0, last] = 0.3
    shares[0, 1, 1] = 0.2
    shares[1, 0, 0] = 0.5
    torch.testing.assert_close(below, 0.5 * own.expand(2, 3, -1) + shares)


def test_rows_are_the_users_alone() -> None:
    trie = Trie.build(Identifiers(CODES, (2, 3)))
    own = torch.tensor([0.4, 0.6]).log().expand(2, 1, 2)
    root = torch.zeros(2, 1, dtype=torch.int64)
    there = torch.ones(2, 1, dtype=torch.bool)
    whole = Mixture.of(trie, RETRIEVED)
    alone = whole.rows(1, 2).mixed(0, root[1:], there[1:], own[1:])
    assert torch.equal(alone, whole.mixed(0, root, there, own)[1:])
