"""Behaviours in requests: which one is asked for, and by which each item came into a history."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from letterrec.data import Dataset
from letterrec.data.targets import predicted
from letterrec.errors import RequestError, quoted


def asked_behaviour(name: str | None, dataset: Dataset, *, any_of_them: bool) -> int:
    """The row of the behaviour that a query asks for; -1 for the run's targets.

    Args:
        name: of the behaviour; None: the targets.
        dataset: of the run.
        any_of_them: whether the run's model may be asked for any behaviour, and not for its targets
            alone.

    Raises:
        RequestError: the run does not know it, or its model cannot be asked for it.
    """
    if name is None:
        return -1
    row = row_of(name, "behaviour", dataset)
    if any_of_them:
        return row
    targets = predicted(dataset.targets, dataset.n_behaviours)
    if targets == (row,):
        return -1
    named = " and ".join(repr(dataset.behaviours[t]) for t in targets)
    ranks_for = f"{named} alone" if len(targets) == 1 else f"{named}, told apart by nothing"
    raise RequestError(
        f"behaviour = {name!r}: the run ranks for {ranks_for}; leave it out, or fit a "
        "recommender that tells behaviours apart: rqt, tiger or lcrec"
    )


def named_for_each(
    behaviours: Iterable[Sequence[str] | None] | None, n: int
) -> list[Sequence[str] | None]:
    """The behaviours of each of ``n`` histories; None for one of which none are said.

    Raises:
        RequestError: they are not one list for each.
    """
    of_each: list[Sequence[str] | None]
    of_each = [None] * n if behaviours is None else list(behaviours)
    if len(of_each) != n:
        raise RequestError(f"{len(of_each)} lists of behaviours came for {n} histories")
    return of_each


def behaviours_in(
    names: Sequence[str] | None,
    ids: Sequence[str],
    rows: Sequence[int],
    dataset: Dataset,
    known: Container[str],
) -> tuple[int, ...]:
    """The rows of the behaviours of a history's known items; empty where the run has none.

    Args:
        names: of the behaviours, one for each item; None: all came by the first of the targets.
        ids: of the items, all of them.
        rows: of those that are known.
        dataset: of the run.
        known: ids that there are.

    Raises:
        RequestError: one is unknown, or they are not one for each item.
    """
    if names is None:
        default = dataset.targets[0] if dataset.targets else 0
        return (default,) * len(rows) if dataset.behaviours else ()
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise RequestError(f"behaviours = {names!r}: expected a list of names, one for each item")
    of_each = [row_of(name, "behaviours", dataset) for name in names]
    if len(of_each) != len(ids):
        raise RequestError(
            f"behaviours has {len(of_each)} names for a history of {len(ids)} items; give one for "
            "each"
        )
    return tuple(row for row, item in zip(of_each, ids, strict=True) if item in known)


def row_of(name: object, what: str, dataset: Dataset) -> int:
    """The row of a behaviour of the run.

    Args:
        name: of the behaviour.
        what: it was given as, for the error.
        dataset: of the run.

    Raises:
        RequestError: the run does not know it.
    """
    if not dataset.behaviours:
        raise RequestError(
            f"{what} = {quoted(name)}: the run knows one kind of interaction; fit one to data "
            "with a column 'behaviour', or with data.grades"
        )
    if not isinstance(name, str) or name not in dataset.behaviours:
        known = ", ".join(map(repr, dataset.behaviours))
        raise RequestError(f"{what} = {quoted(name)}: expected one of {known}")
    return dataset.behaviours.index(name)
