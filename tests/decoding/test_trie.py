from __future__ import annotations

import numpy as np
import pytest

from letterrec.decoding.trie import Trie
from letterrec.errors import IdentifierError
from letterrec.identifiers.identifiers import Identifiers

CODES = [[1, 0, 2], [0, 3, -1], [1, 0, 0], [2, -1, -1], [1, 0, 2], [0, 1, 1]]


def identifiers(codes: list[list[int]], size: int = 4) -> Identifiers:
    array = np.array(codes, dtype=np.int32)
    return Identifiers(array, (size,) * array.shape[1])


def leaves(trie: Trie) -> dict[tuple[int, ...], list[int]]:
    """Walk the trie from its root: identifier -> items."""
    found: dict[tuple[int, ...], list[int]] = {}

    def walk(level: int, node: int, prefix: tuple[int, ...]) -> None:
        first, last = trie.first_item[level][node : node + 2].tolist()
        if level == trie.n_levels:
            found[prefix] = trie.items[first:last].tolist()
            return
        children = range(*trie.first_child[level][node : node + 2].tolist())
        assert 0 < len(children) <= trie.widths[level]
        assert trie.first_item[level + 1][children[0]] == first
        for child in children:
            code = int(trie.codes[level + 1][child])
            if (table := trie.tables[level]) is not None:
                assert table[node, code] == child
            walk(level + 1, child, (*prefix, code) if code >= 0 else prefix)

    walk(0, 0, ())
    return found


def test_holds_every_identifier_and_its_items() -> None:
    trie = Trie.build(identifiers(CODES))
    assert leaves(trie) == {
        (0, 1, 1): [5],
        (0, 3): [1],
        (1, 0, 0): [2],
        (1, 0, 2): [0, 4],
        (2,): [3],
    }
    assert trie.most_sharing == 2
    assert trie.has_shorter
    assert trie.items[trie.position.long()].tolist() == list(range(6))
    assert [nodes.tolist() for nodes in trie.nodes_above] == [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 2],  # 0, 0, 1, 1, 1, 2
        [0, 1, 2, 2, 2, 3],  # 0 1, 0 3, 1 0, 1 0, 1 0, 2
        [0, 1, 2, 3, 3, 4],
    ]


def test_items_that_share_an_identifier_stand_by_popularity_then_row() -> None:
    same = identifiers([[0], [0], [0], [0]])
    assert Trie.build(same).items.tolist() == [0, 1, 2, 3]
    assert Trie.build(same, np.array([1, 5, 1, 9])).items.tolist() == [3, 1, 0, 2]


def test_tables_list_the_children_by_code() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 16, (300, 3)).tolist()
    trie = Trie.build(identifiers(codes, 16))
    assert all(table is not None and int((table >= 0).sum()) for table in trie.tables)
    expected: dict[tuple[int, ...], list[int]] = {}
    for row, code in enumerate(codes):
        expected.setdefault(tuple(code), []).append(row)
    assert leaves(trie) == expected


def test_large_catalogues_stay_small() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (200_000, 4)).astype(np.int32)
    trie = Trie.build(Identifiers(codes, (256,) * 4))
    tensors = (trie.items, trie.position, *trie.codes, *trie.first_child, *trie.first_item)
    n_bytes = sum(t.nbytes for t in (*tensors, *trie.tables) if t is not None)
    assert n_bytes < 40 * 200_000
    assert trie.n_nodes(1) == 256
    rows = trie.items.numpy()
    packed = codes.astype(np.int64) @ 256 ** np.arange(3, -1, -1)
    assert (np.diff(packed[rows]) >= 0).all()


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[1, 2], [1, -1]], r"identifier <a_1> of item row 1 is the beginning of <a_1><b_2> of it"),
        ([[1, 2], [4, 0]], r"item row 1 has code 4 at level 0: expected 0 to 3"),
        ([[1, 2], [-2, 0]], r"item row 1 has code -2 at level 0: expected 0 to 3"),
        ([[1, 2], [-1, 0]], r"item row 1 has the identifier \[-1, 0\]: expected codes and then -1"),
        ([[1, 2], [-1, -1]], r"item row 1 has the identifier \[-1, -1\].*at least one code"),
    ],
)
def test_refuses_identifiers_that_do_not_lead_to_items(
    codes: list[list[int]], message: str
) -> None:
    with pytest.raises(IdentifierError, match=message):
        Trie.build(identifiers(codes))


def test_refuses_an_empty_catalogue_and_a_wrong_popularity() -> None:
    with pytest.raises(IdentifierError, match=r"shape \(0, 3\): expected at least one item"):
        Trie.build(Identifiers(np.zeros((0, 3), dtype=np.int32), (4, 4, 4)))
    with pytest.raises(IdentifierError, match=r"popularity of shape \(2,\) for 6 items"):
        Trie.build(identifiers(CODES), np.array([1, 2]))
