"""Forgetting a user: his rows leave what a run keeps of its users.

His interactions and his preference leave the data, his ranks those behind the metrics, his case the
held-out items; a baseline that learned a vector of each user loses his. What was averaged over
everybody stays as it is: the weights of networks, CF embeddings, transitions, popularity in the
recommender's order of equals, and the figures of ``metrics.json``. A refit without him
(`letterrec refit`) learns the recommender anew without his interactions.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from letterrec.baselines import BASELINES
from letterrec.data.cold import ColdItems
from letterrec.data.dataset import Dataset
from letterrec.data.domains import names_of
from letterrec.data.lookup import user_row
from letterrec.data.saved import write_dataset
from letterrec.data.sequences import Histories
from letterrec.data.splits import SPLITS, Cut
from letterrec.errors import NotFound, RequestError
from letterrec.progress import say
from letterrec.runs.run import Run


def forget(run: Run, users: Sequence[object]) -> None:
    """Take users out of all files of a run; where one of them is refused, none is.

    Args:
        run: has read its data. A server of it forgets them when it is told to reload.
        users: their ids; in a run of several domains one may stand alone if he is in one of them.

    Raises:
        NotFound: the run has no such user, or one in each of several domains.
        RequestError: it has no others, one is no id, or there are none.
        RunError: its data are damaged.
    """
    dataset = run.dataset()
    if not users:
        raise RequestError("no user is given; expected an id, or a list of ids")
    rows = sorted({_row_of(user, dataset, run) for user in users})
    if len(rows) == dataset.n_users:
        names = " and ".join(map(repr, users[:3]))
        raise RequestError(f"{run.folder} has no other user than {names}; delete the folder")
    rest = without(dataset, rows)
    if run.files.ranks.exists():
        _drop_ranks(run, dataset, rest, rows)
    if run.files.cold.is_dir():
        _drop_cases(run, dataset, rows)
    tables = _tables_of(run)
    if tables and run.is_done("recommender"):
        run.save_weights(
            {
                name: _without_rows(tensor, rows) if name in tables else tensor
                for name, tensor in run.weights().items()
            }
        )
    if tables:  # checkpoints have their rows, too
        shutil.rmtree(run.files.training, ignore_errors=True)
    run.files.report.unlink(missing_ok=True)  # it may show their lists
    write_dataset(rest, run.files.data)
    run.note_data(rest)
    for n, row in enumerate(reversed(rows), start=1):
        say(f"  user {dataset.user_ids[row]} is forgotten; {dataset.n_users - n} users are left")


def _row_of(user: object, dataset: Dataset, run: Run) -> int:
    row = user_row(user, dataset)
    if row is None:
        of_all = f"user {user!r} is not among the {dataset.n_users} users of {run.folder}"
        raise NotFound(f"{of_all}{_hint(dataset)}")
    return row


def _hint(dataset: Dataset) -> str:
    """How a user of several domains is called; nothing where the run has one."""
    first = dataset.user_ids[0]
    if dataset.domains is None or first.partition("/")[0] not in names_of(dataset):
        return ""
    return f"; write domain and id, as in {first!r}"


def without(dataset: Dataset, gone: Sequence[int]) -> Dataset:
    """A data set without some of its users, given by their rows."""
    rows = np.delete(np.arange(dataset.n_users), gone)
    cut = dataset.cut
    return replace(
        dataset,
        user_ids=tuple(dataset.user_ids[i] for i in rows),
        interactions=dataset.interactions.take(rows),
        preferences=None
        if dataset.preferences is None
        else tuple(dataset.preferences[i] for i in rows),
        cut=None if cut is None else Cut(cut.valid[rows], cut.test[rows]),
    )


def _drop_ranks(run: Run, dataset: Dataset, rest: Dataset, gone: Sequence[int]) -> None:
    """Keep the ranks of the others; none where a sample was measured, which is another one now."""
    users = {split: dataset.held_out(split).users for split in SPLITS}
    before = {split: run.ranks(split) for split in SPLITS}
    is_sample = any(len(before[split]) < len(users[split]) for split in SPLITS)
    if is_sample or run.settings.evaluation.test_users is not None:
        run.files.ranks.unlink()
        return
    ranks = {str(split): before[split][~np.isin(users[split], gone)] for split in SPLITS}
    run.save_ranks(ranks, rest)


def _drop_cases(run: Run, dataset: Dataset, gone: Sequence[int]) -> None:
    """Take their cases out of those of held-out items: all that can be of one of them, since a case
    does not say whose it is.
    """
    cold = run.cold()
    cases = cold.histories.events(dataset.n_behaviours)
    sequences = dataset.interactions.events(dataset.n_behaviours)
    left = set(range(len(cases)))
    for row in gone:
        own, first = sequences[row], _behind_targets(dataset, row)
        left -= {c for c in left if len(cases[c]) >= first and _begins_with(own, cases[c])}
    if len(left) < len(cases):
        rows = np.array(sorted(left), dtype=np.int64)
        kept: Histories = cold.histories.take(rows)
        others: ColdItems = replace(cold, histories=kept, targets=cold.targets[rows])
        others.save(run.files.cold)


def _behind_targets(dataset: Dataset, user: int) -> int:
    """How many interactions of a user there are up to his latest target: as many at least are in
    the history of his case, which ends where the held-out item, his latest target of all, stood.
    """
    start, stop = dataset.interactions.offsets[user : user + 2]
    if dataset.is_target is None:
        return int(stop - start)
    return int(np.flatnonzero(dataset.is_target[start:stop]).max(initial=-1)) + 1


def _begins_with(sequence: NDArray[np.int32], start: NDArray[np.int32]) -> bool:
    return np.array_equal(sequence[: len(start)], start)


def _tables_of(run: Run) -> tuple[str, ...]:
    """The weights that have a row for each user."""
    name = run.settings.recommender.name
    return BASELINES[name].user_tables if name in BASELINES else ()


def _without_rows(tensor: torch.Tensor, gone: Sequence[int]) -> torch.Tensor:
    return tensor[torch.from_numpy(np.delete(np.arange(len(tensor)), gone))]
