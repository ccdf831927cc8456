"""Packed sequences: cut, padded, in windows, and as a column of a table."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from letterrec.data import Histories

SEQUENCES = st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=6)


@given(sequences=SEQUENCES, n=st.integers(1, 9))
def test_the_latest_items_packed_and_padded(sequences: list[list[int]], n: int) -> None:
    packed = Histories.from_lists(sequences)
    expected = [s[-n:] for s in sequences]
    assert [h.tolist() for h in packed.latest(n)] == expected
    padded = packed.padded(n)
    assert padded.shape == (len(sequences), max(map(len, expected), default=0))
    assert [[i for i in row if i >= 0] for row in padded.tolist()] == expected


@given(sequences=SEQUENCES, width=st.integers(2, 6))
def test_windows_predict_each_item_but_the_first_once(
    sequences: list[list[int]], width: int
) -> None:
    packed = Histories.from_lists(sequences)
    windows = packed.windows(width)
    assert packed.n_windows(width).sum() == len(windows)
    assert all(2 <= n <= width for n in windows.lengths)
    predicted = [i for w in windows for i in w[1:].tolist()]
    assert predicted == [i for s in sequences for i in s[1:]]
