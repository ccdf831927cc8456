"""Planted data where a view means the opposite of a buy.

Items stand in a ring. Whoever has bought an item buys the next one in the ring, and views the one
on the opposite side; whoever has viewed it, the other way round. A model that does not know
behaviours sees the same item followed by either, as often.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from letterrec.data.sequences import Histories
from letterrec.identifiers.identifiers import Identifiers

N_ITEMS = 12
BUY, VIEW = 0, 1
NAMES = ("buy", "view")


def planted(n_users: int, *, length: int = 6, seed: int = 0) -> Histories:
    """Sequences that begin with any item, of behaviours at random."""
    random = np.random.default_rng(seed)
    first = random.integers(N_ITEMS, size=(n_users, 1))
    behaviours = random.integers(2, size=(n_users, length))
    is_same = behaviours[:, 1:] == behaviours[:, :-1]
    steps = np.where(is_same, 1, N_ITEMS // 2)
    items = np.concatenate([first, steps], 1).cumsum(1) % N_ITEMS
    offsets = np.arange(0, items.size + 1, length)
    return Histories(offsets, items.ravel().astype(np.int32), behaviours.ravel().astype(np.int8))


def asked(n: int, seed: int = 1) -> tuple[Histories, NDArray[np.int64]]:
    """Histories, and what will be bought after each."""
    histories = planted(n, length=3, seed=seed)
    assert histories.behaviours is not None
    latest = histories.offsets[1:] - 1
    steps = np.where(histories.behaviours[latest] == BUY, 1, N_ITEMS // 2)
    return histories, (histories.items[latest] + steps) % N_ITEMS


def turns(
    n_users: int, cycle: tuple[int, ...] = (VIEW, VIEW, BUY), *, length: int = 9, seed: int = 0
) -> Histories:
    """Sequences of random items whose behaviours take turns, beginning with any of them."""
    random = np.random.default_rng(seed)
    items = random.integers(N_ITEMS, size=n_users * length).astype(np.int32)
    place = random.integers(len(cycle), size=(n_users, 1)) + np.arange(length)
    behaviours = np.array(cycle, dtype=np.int8)[place % len(cycle)].ravel()
    return Histories(np.arange(0, len(items) + 1, length), items, behaviours)


def without_behaviours(histories: Histories) -> Histories:
    """The same items, of one kind of interaction."""
    return Histories(histories.offsets, histories.items)


def identifiers() -> Identifiers:
    """Of the items of the ring."""
    codes = np.stack([np.arange(N_ITEMS) // 4, np.arange(N_ITEMS) % 4], 1)
    return Identifiers(codes.astype(np.int32), (3, 4))


def write_shop(folder: Path, n_users: int = 150) -> Path:
    """The same data as a folder of tables, with titles."""
    folder.mkdir()
    histories = planted(n_users, seed=3)
    assert histories.behaviours is not None
    lines = ["user,item,timestamp,behaviour"]
    for user in range(n_users):
        start, stop = histories.offsets[user : user + 2]
        for time, place in enumerate(range(start, stop)):
            behaviour = NAMES[histories.behaviours[place]]
            lines.append(f"u{user},i{histories.items[place]},{time},{behaviour}")
    (folder / "interactions.csv").write_text("\n".join(lines) + "\n")
    titles = [f"i{i},{word}" for i, word in enumerate(_WORDS)]
    (folder / "items.csv").write_text("\n".join(["item,title", *titles]) + "\n")
    return folder


_WORDS = (
    *("lamp", "chair", "table", "shelf", "carpet", "mirror"),
    *("kettle", "spoon", "plate", "bowl", "knife", "glass"),
)
