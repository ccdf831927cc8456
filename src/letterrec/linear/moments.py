"""The second moments of histories that the regressions are fitted to.

All are float32 ``(n, n)`` for ``n`` items: ``gram`` is ``S'S`` of the predictors ``S``, and
``cross`` is ``S'T`` of predictors (rows) and targets ``T`` (columns).
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from letterrec.data.sequences import Histories

_WINDOW = 20  # items of a history that are looked at before and after each of its places


def history_moments(histories: Histories, n_items: int) -> sp.csr_array[np.float32]:
    """``gram``, and ``cross`` too, of histories whose items predict each other, each item counted
    once a history.
    """
    sequence = np.repeat(np.arange(len(histories)), histories.lengths)
    had = _table(sequence, histories.items, 1.0, (len(histories), n_items))
    had.data[:] = 1
    return sp.csr_array(had.T @ had)


def prefix_moments(
    histories: Histories, n_items: int, decay: float, ahead: float
) -> tuple[sp.csr_array[np.float32], sp.csr_array[np.float32]]:
    """``gram`` and ``cross`` of what came before a place of a history (predictors) and what comes
    from there on (targets), over all places but the first; up to 20 items either way.

    Args:
        histories: of training.
        n_items: in the catalogue.
        decay: weight of an item that came before, relative to the item after it.
        ahead: weight of an item that comes later, relative to the item before it.
    """
    sequence = np.repeat(np.arange(len(histories)), histories.lengths)
    shape = (len(sequence), n_items)
    before, after = sp.csr_array(shape, dtype=np.float32), sp.csr_array(shape, dtype=np.float32)
    for step in range(1, min(_WINDOW, len(sequence) - 1) + 1):
        early = np.flatnonzero(sequence[step:] == sequence[:-step])
        late = early + step
        before += _table(late, histories.items[early], decay ** (step - 1), shape)
        after += _table(early + 1, histories.items[late], ahead ** (step - 1), shape)
    return sp.csr_array(before.T @ before), sp.csr_array(before.T @ after)


def window_moments(
    histories: Histories, n_items: int, window: int, backwards: float
) -> tuple[sp.csr_array[np.float32], sp.csr_array[np.float32]]:
    """``gram`` and ``cross`` of histories whose items predict each other, the more the nearer they
    are.

    Two items of a history that are ``d`` places apart count ``1 - d / window``: the share of the
    windows of so many places over the one that hold the other as well. So ``gram`` is a sum of
    windows' second moments, and positive semi-definite.

    Args:
        histories: of training.
        n_items: in the catalogue.
        window: places from which on items do not count together.
        backwards: weight of predicting an item from one after it, relative to one before it.
    """
    shape = (n_items, n_items)
    sequence = np.repeat(np.arange(len(histories)), histories.lengths)
    onwards = sp.csr_array(shape, dtype=np.float32)
    for step in range(1, min(window, histories.lengths.max(initial=1))):
        before = np.flatnonzero(sequence[step:] == sequence[:-step])
        pairs = histories.items[before], histories.items[before + step]
        onwards += _table(*pairs, 1 - step / window, shape)
    counts = np.bincount(histories.items, minlength=n_items).astype(np.float32)
    gram = onwards + onwards.T + sp.diags_array(counts)
    return sp.csr_array(gram), sp.csr_array(onwards + np.float32(backwards) * onwards.T)


def _table(
    rows: NDArray[np.integer], columns: NDArray[np.integer], value: float, shape: tuple[int, int]
) -> sp.csr_array[np.float32]:
    """``value`` at each row and column, summed where they repeat."""
    values = np.full(len(rows), value, dtype=np.float32)
    return sp.coo_array((values, (rows, columns)), shape=shape).tocsr()
