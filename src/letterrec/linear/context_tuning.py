"""How transitions treat several behaviours, chosen on the latest targets of training.

Validation has one case of each user, too few to tell small differences of such choices apart. What
each user did last in training gives several, so the transitions alone are tried on those, learned
from what came before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from letterrec.data.sequences import Histories
from letterrec.data.targets import predicted
from letterrec.linear.ridge import NEIGHBOURS
from letterrec.linear.transition_fitting import learn_transitions
from letterrec.linear.transitions import Transitions

_OWN = (0.4, 1.0)  # how far an item's behaviours may differ
_CONTEXTS = (0.0, 0.5, 1.0)  # weight of predicting items of other behaviours
_LIKE, _DECAY = 0.1, 0.85  # of the transitions that are tried
_LATEST = 8  # targets of a user, at most, and a third of what he has
_USERS = 2000  # at most
_CASES = 500  # at least: with fewer nothing is chosen here
_READ = 20  # latest events of a history
_TOP = 10


def tune_context(
    histories: Histories,
    n_items: int,
    similarity: sp.csr_array[np.float32] | None,
    *,
    n_behaviours: int,
    targets: Sequence[int],
    window: int,
    backwards: float,
    ridge: float,
    neighbours: int = NEIGHBOURS,
) -> tuple[float, float] | None:
    """Choose ``own`` and ``context`` of transitions (see `learn_transitions` and `Transitions`).

    None where there are too few cases to choose by.

    Args:
        histories: of training.
        n_items: in the catalogue.
        similarity: as of `learn_transitions`.
        n_behaviours: kinds of interactions.
        targets: rows of the target behaviours; empty: all.
        window: of `learn_transitions`, as are ``backwards`` and ``ridge``.
        backwards: of `learn_transitions`.
        ridge: of `learn_transitions`.
        neighbours: of `learn_transitions`.
    """
    wanted = np.isin(np.arange(n_behaviours), predicted(targets, n_behaviours))
    user, place = _latest(histories, wanted)
    if len(place) < _CASES:
        return None
    stop = histories.offsets[1:].copy()
    np.minimum.at(stop, user, place)
    first = histories.offsets[:-1]
    before = histories.slice(first, stop)
    cases = histories.slice(first[user], place).events(n_behaviours)
    answers = histories.items[place]
    best, highest = (1.0, 0.0), -np.inf
    for own in _OWN:
        made, similar = learn_transitions(
            before,
            n_items,
            similarity,
            window=window,
            backwards=backwards,
            ridge=ridge,
            neighbours=neighbours,
            n_behaviours=n_behaviours,
            targets=targets,
            own=own,
        )
        if similar is not None:
            made = made.with_like(similar, _LIKE)
        for context in _CONTEXTS if made.of_context is not None else (0.0,):
            tried = replace(made.with_context(context), decay=_DECAY)
            reached = max(_gain(replace(tried, seen=seen), cases, answers) for seen in (0.0, 1.0))
            if reached > highest:
                best, highest = (own, context), reached
    return best


def _latest(
    histories: Histories, wanted: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The users of the cases, and where in ``histories.items`` what they are asked for stands."""
    assert histories.behaviours is not None
    users = np.arange(len(histories))
    if len(users) > _USERS:
        users = np.sort(np.random.default_rng(0).choice(users, _USERS, replace=False))
    of_user: list[NDArray[np.int64]] = []
    for user in users:
        start, stop = histories.offsets[user : user + 2]
        found = 1 + np.flatnonzero(wanted[histories.behaviours[start + 1 : stop]])
        of_user.append(start + found[len(found) - min(_LATEST, len(found) // 3) :])
    counts = np.array([len(places) for places in of_user], dtype=np.int64)
    return np.repeat(users, counts), np.concatenate([np.zeros(0, dtype=np.int64), *of_user])


def _gain(transitions: Transitions, cases: Histories, answers: NDArray[np.int32]) -> float:
    """NDCG@10 of what is retrieved alone."""
    total, at_once = 0.0, 1024
    for start in range(0, len(answers), at_once):
        rows = np.arange(start, min(start + at_once, len(answers)))
        events = cases.take(rows)
        seen = torch.from_numpy(events.padded())
        found = transitions.retrieve(torch.from_numpy(events.padded(_READ)), seen)
        hit = (found.items[:, :_TOP].numpy() == answers[rows, None]) & (
            found.shares[:, :_TOP].numpy() > 0
        )
        total += float((hit / np.log2(np.arange(2, hit.shape[1] + 2))).sum())
    return total / len(answers)
