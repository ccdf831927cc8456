"""The temporal split: what comes before a time is learned from, what comes after it is asked for.

One time for all users, as in service: a model that was trained at a time is asked after it, and
nothing that it has learned is from later.
"""

from __future__ import annotations

import datetime
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from letterrec.data import times
from letterrec.data.dataset import Dataset
from letterrec.data.splits import SPLITS, Cut
from letterrec.errors import DataError, SettingsError

TEMPORAL = "temporal split"  # begins the note of it


def split_in_time(dataset: Dataset, test_from: str, valid_from: str | None = None) -> Dataset:
    """Hold out what comes after a time, and for validation what comes in the window before it.

    A user's first interaction in a window is asked for, with all that he had before it as history;
    his further ones are neither asked for nor learned from.

    Args:
        dataset: with times.
        test_from: where the test begins: a date or time, or a share of the interactions, the
            latest, below 1.
        valid_from: where validation begins, in the same forms; None: so that both windows hold as
            many interactions.

    Returns:
        The same data with that cut, and a note of who cannot be asked for.

    Raises:
        DataError: there are no times, or nobody is left to learn from or to test.
        SettingsError: a time cannot be read, or validation would not begin before the test.
    """
    if dataset.times is None:
        raise DataError(
            f"data.split = 'temporal', but {dataset.name} has no times, only the order of each "
            "user's interactions; give a log with timestamps, or use data.split=leave-one-out"
        )
    ordered = np.sort(dataset.times)
    test = _begin("test_from", test_from, ordered)
    if valid_from is None:
        n_test = len(ordered) - int(np.searchsorted(ordered, test))
        valid = float(ordered[max(0, len(ordered) - 2 * n_test)]) if n_test else test
    else:
        valid = _begin("valid_from", valid_from, ordered)
    if valid > test or (valid == test and valid_from is not None):
        raise SettingsError(
            f"data.valid_from = {valid_from!r} is {_shown(valid)}, and the test begins "
            f"{_shown(test)}: expected validation before the test"
        )
    cut = Cut(_before(dataset, valid), _before(dataset, test))
    n_cases = len(cut.cases("test", dataset.interactions, dataset.is_target))
    if not n_cases or cut.valid.max(initial=0) < 2:
        lacking = "anything to learn from before validation" if n_cases else "anyone to test"
        raise DataError(
            f"the temporal split leaves {dataset.name} without {lacking}: validation begins "
            f"{_shown(valid)}, the test {_shown(test)}, the log goes from {_shown(ordered[0])} to "
            f"{_shown(ordered[-1])}; change data.test_from or data.valid_from"
        )
    return replace(dataset, cut=cut, warnings=(*dataset.warnings, _note(dataset, cut, valid, test)))


def _begin(name: str, given: str, ordered: NDArray[np.float64]) -> float:
    """A time in seconds since 1970, given as one, or as the share of the interactions after it."""
    try:
        share = float(given)
    except ValueError:
        share = 1.0
    if 0 < share < 1:
        return float(ordered[min(len(ordered) - 1, round(len(ordered) * (1 - share)))])
    found = times.moment(given)
    if found is None or share <= 0:
        raise SettingsError(
            f"data.{name} = {given!r}: expected a date or time such as 2024-03-01 or "
            "2024-03-01T12:00, or a share of the interactions between 0 and 1, such as 0.1"
        )
    return found


def _before(dataset: Dataset, time: float) -> NDArray[np.int64]:
    """int64 ``(n_users,)``: each user's interactions before a time."""
    assert dataset.times is not None
    offsets = dataset.interactions.offsets
    earlier = np.append(0, np.cumsum(dataset.times < time))
    return np.asarray(earlier[offsets[1:]] - earlier[offsets[:-1]], dtype=np.int64)


def _note(dataset: Dataset, cut: Cut, valid: float, test: float) -> str:
    """Where the windows begin, whom they ask for, and who cannot be asked for."""
    sequences = dataset.interactions
    asked, new = (
        [len(cut.cases(split, sequences, dataset.is_target)) for split in SPLITS],
        [cut.newcomers(split, sequences, dataset.is_target) for split in SPLITS],
    )
    known = np.zeros(dataset.n_items, dtype=bool)
    known[sequences.slice(sequences.offsets[:-1], sequences.offsets[:-1] + cut.valid).items] = True
    return (
        f"{TEMPORAL}: validation from {_shown(valid)} ({asked[0]:,} users; {new[0]:,} more "
        f"have no history before it), test from {_shown(test)} ({asked[1]:,} users; {new[1]:,} "
        f"more have none); {int((~known).sum()):,} items are in no training interaction"
    )


def _shown(time: float) -> str:
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
