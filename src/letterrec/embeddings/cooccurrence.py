"""Which items are used by the same people: the co-occurrence graph of histories."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from letterrec.data.sequences import Histories


def cooccurrence(histories: Histories, n_items: int) -> sp.csr_array:
    """How many histories have both items of a pair.

    Args:
        histories: sequences of item rows; an item that comes twice in one counts once.
        n_items: size of the catalogue.

    Returns:
        float32 ``(n_items, n_items)``, symmetric, with nothing on the diagonal. The cost grows with
        the square of a history's length.

    >>> cooccurrence(Histories.from_lists([[0, 1, 1], [1, 0], [2]]), 3).toarray().tolist()
    [[0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    ones = np.ones(len(histories.items), dtype=np.float32)
    has = sp.csr_array((ones, histories.items, histories.offsets), shape=(len(histories), n_items))
    has.sum_duplicates()
    has.data[:] = 1
    both = sp.csr_array(has.T @ has)
    both.setdiag(0)
    both.eliminate_zeros()
    return both
