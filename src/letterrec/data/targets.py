"""Which behaviours are to be predicted."""

from __future__ import annotations

from collections.abc import Sequence


def predicted(targets: Sequence[int], n_behaviours: int) -> tuple[int, ...]:
    """The rows of the behaviours that are to be predicted: where none are chosen, all.

    >>> predicted((1,), 3), predicted((), 3)
    ((1,), (0, 1, 2))
    """
    return tuple(targets) or tuple(range(n_behaviours))
