"""Items found in a catalogue of five, of which one is blocked, one deleted and one was added."""

from __future__ import annotations

import numpy as np
import pytest

from letterrec.serving.catalogue.directory import Directory
from letterrec.serving.catalogue.states import STATES

IDS = ("d", "b", "c", "a", "new")


@pytest.fixture
def directory() -> Directory:
    return Directory(
        item_ids=IDS,
        titles=("Green Tea", "Black tea", "The tea house", "Crème brûlée", "Tea tray"),
        codes=np.array([[1, 2, 3], [1, 2, 4], [1, 5, 3], [7, 8, 9], [1, 2, 3]], dtype=np.int32),
        popularity=np.array([5, 9, 2, 4, 0]),
        states=np.array([0, 0, STATES.index("blocked"), STATES.index("deleted"), 0], np.int8),
        rows={item: row for row, item in enumerate(IDS)},
        n_trained=4,
    )


def test_titles_that_begin_with_the_words_come_first_then_the_more_popular(
    directory: Directory,
) -> None:
    assert directory.search("TEA", 10) == [4, 1, 0, 2]
    assert directory.search("tea house", 10) == [2]
    assert directory.search("   ", 10) == []


def test_an_id_finds_its_item_but_no_deleted_one(directory: Directory) -> None:
    assert directory.search("new", 10) == [4]
    assert 3 not in directory.search("a", 10)
    assert directory.search("creme", 10) == []


def test_pages_are_in_the_order_of_the_ids(directory: Directory) -> None:
    ids = [IDS[row] for row in directory.listed(None, 3, STATES, False)]
    assert ids == ["a", "b", "c"]
    assert [IDS[row] for row in directory.listed("c", 3, STATES, False)] == ["d", "new"]
    assert directory.listed(None, 9, ["active"], True) == [4]
    assert directory.listed(None, 9, ["deleted", "blocked"], False) == [3, 2]


def test_neighbours_share_more_leading_codes_and_are_active(directory: Directory) -> None:
    assert directory.neighbours(0, 9) == [(4, 3, 3), (1, 2, 2)]
    assert directory.neighbours(3, 9) == []
