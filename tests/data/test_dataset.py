from __future__ import annotations

from dataclasses import replace

from letterrec.data import Dataset, Histories


def a_dataset() -> Dataset:
    return Dataset(
        name="three",
        user_ids=("u", "v", "w"),
        item_ids=("a", "b", "c", "d"),
        interactions=Histories.from_lists([[0, 1, 2, 3], [3, 2], [1, 1, 0]]),
        titles=("A", "B", "C", "D"),
    )


def test_the_split_holds_out_the_latest_two() -> None:
    dataset = a_dataset()
    assert [h.tolist() for h in dataset.training()] == [[0, 1], [3, 2], [1]]
    test, valid = dataset.held_out("test"), dataset.held_out("valid")
    assert (test.users.tolist(), test.targets.tolist()) == ([0, 2], [3, 0])
    assert [h.tolist() for h in test.histories] == [[0, 1, 2], [1, 1]]
    assert (valid.users.tolist(), valid.targets.tolist()) == ([0, 2], [2, 1])
    assert [h.tolist() for h in valid.histories] == [[0, 1], [1]]
    assert dataset.popularity.tolist() == [1, 2, 1, 1]


def test_the_fingerprint_follows_ids_and_sequences_only() -> None:
    dataset = a_dataset()
    assert dataset.fingerprint == a_dataset().fingerprint
    assert dataset.fingerprint == replace(dataset, name="other", titles=("",) * 4).fingerprint
    others = [
        replace(dataset, user_ids=("v", "u", "w")),
        replace(dataset, item_ids=("a", "b", "d", "c")),
        replace(dataset, interactions=Histories.from_lists([[0, 1, 2, 3], [2, 3], [1, 1, 0]])),
        replace(dataset, interactions=Histories.from_lists([[0, 1, 2], [3, 3, 2], [1, 1, 0]])),
    ]
    assert len({d.fingerprint for d in [dataset, *others]}) == 5
