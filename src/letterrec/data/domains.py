"""Several data sets as one: each becomes a domain, and its items are called ``NAME/ID``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from letterrec.data.attributes import stacked
from letterrec.data.dataset import Dataset
from letterrec.data.sequences import Histories
from letterrec.errors import DataError, NotFound, quoted

MOST_BEHAVIOURS = 127  # that rows of int8 tell apart
T = TypeVar("T")
Scalar = TypeVar("Scalar", bound=np.generic)


def qualified(domain: str, item: str) -> str:
    """The id of a domain's item in a data set of several.

    >>> qualified("Yelp", "17")
    'Yelp/17'
    """
    return f"{domain}/{item}"


def combined(parts: Mapping[str, Dataset], *, join_users: bool = False) -> Dataset:
    """The data sets of several domains as one.

    Items are ``NAME/ID``, and so are users, unless those whose ids agree are one person: then a
    user is ``ID``, and what it did in all domains is one sequence in time order. Where a source has
    no times, what such a user did is interleaved evenly. Identifiers and CF embeddings that came
    with the sources are left out: each is of a space of its own.

    Args:
        parts: name of the domain -> its data.
        join_users: whether users whose ids agree are one person.

    Raises:
        DataError: a part has domains of its own or is split already, or some parts alone have
            behaviours.
    """
    for name, part in parts.items():
        if part.domains is not None or part.cut is not None or part.targets:
            what = "domains of its own" if part.domains is not None else "a split of its own"
            raise DataError(f"{name}: {part!r} has {what}; give the sources that it was read from")
    named = list(parts.items())
    firsts = np.cumsum([0, *(part.n_items for _, part in named)])
    owners = [
        tuple(part.user_ids if join_users else (qualified(name, u) for u in part.user_ids))
        for name, part in named
    ]
    user_ids = tuple(dict.fromkeys(user for ids in owners for user in ids))
    row_of = {user: row for row, user in enumerate(user_ids)}
    shared = sum(map(len, owners)) - len(user_ids)
    users = _joined(  # int64 (n_interactions,): the row of each interaction's user
        np.repeat([row_of[u] for u in ids], part.interactions.lengths).astype(np.int64)
        for ids, (_, part) in zip(owners, named, strict=True)
    )
    items = _joined(
        part.interactions.items + first for first, (_, part) in zip(firsts, named, strict=False)
    )
    times = None
    if all(part.times is not None for _, part in named):
        times = _joined(part.times for _, part in named if part.times is not None)
    when = times if times is not None else _joined(_even(part.interactions) for _, part in named)
    kinds, of_each = _behaviours(parts)
    order = np.lexsort((when, users)) if shared else np.argsort(users, kind="stable")
    counts = np.bincount(users, minlength=len(user_ids))
    notes = [f"{name}: {note}" for name, part in named for note in part.warnings]
    if join_users:
        notes.append(_told(shared, times is not None))
    has_text = [part.texts is not None for _, part in named]
    for (name, _), there in zip(named, has_text, strict=True):
        if any(has_text) and not there:
            notes.append(f"{name}: its items have no text; their titles or ids stand in for it")
    return Dataset(
        name=" + ".join(parts),
        user_ids=user_ids,
        item_ids=tuple(qualified(name, i) for name, part in named for i in part.item_ids),
        interactions=Histories(
            np.append(0, np.cumsum(counts)).astype(np.int64),
            items[order].astype(np.int32),
            None if of_each is None else of_each[order],
        ),
        titles=tuple(title for _, part in named for title in part.titles),
        texts=tuple(text for _, part in named for text in part.texts or part.titles)
        if any(has_text)
        else None,
        preferences=_preferences(user_ids, owners, [part for _, part in named]),
        images=_of_items([(part.images, part.n_items) for _, part in named], ""),
        attributes=stacked([(part.attributes, part.n_items) for _, part in named]),
        categories=_of_items([(part.categories, part.n_items) for _, part in named], ()),
        warnings=tuple(notes),
        times=None if times is None else times[order],
        domains=tuple(name for name, part in named for _ in part.item_ids),
        behaviours=kinds,
        graded=all(part.graded for _, part in named),
    )


def _joined(parts: Iterable[NDArray[Scalar]]) -> NDArray[Scalar]:
    return np.concatenate(list(parts))


def _behaviours(
    parts: Mapping[str, Dataset],
) -> tuple[tuple[str, ...], NDArray[np.int8] | None]:
    """The behaviours of all parts, and the row of each interaction's; those of one name are one.

    Raises:
        DataError: some parts have behaviours and others none, or they have too many together.
    """
    kinds = tuple(dict.fromkeys(kind for part in parts.values() for kind in part.behaviours))
    if not kinds:
        return (), None
    if len(kinds) > MOST_BEHAVIOURS:
        raise DataError(
            f"{' and '.join(parts)} have {len(kinds)} different behaviours together; expected at "
            f"most {MOST_BEHAVIOURS}: call alike what is alike"
        )
    rows: list[NDArray[np.int8]] = []
    for name, part in parts.items():
        of_each = part.interactions.behaviours
        if of_each is None:
            raise DataError(
                f"{name} has no behaviours, and other sources have {', '.join(kinds)}; give all "
                "logs a column 'behaviour', or none"
            )
        here = np.array([kinds.index(kind) for kind in part.behaviours], dtype=np.int8)
        rows.append(here[of_each])
    return kinds, np.concatenate(rows)


def _even(interactions: Histories) -> NDArray[np.float64]:
    """float64 ``(n_interactions,)``: where in its sequence each one is, between 0 and 1.

    >>> _even(Histories.from_lists([[3, 4], [5]])).tolist()
    [0.25, 0.75, 0.5]
    """
    lengths = interactions.lengths
    place = np.arange(len(interactions.items)) - np.repeat(interactions.offsets[:-1], lengths)
    return (place + 0.5) / np.repeat(lengths, lengths)


def _told(shared: int, by_time: bool) -> str:
    """What a note says of users that are one person."""
    if not shared:
        return "data.join_users: no id is in two sources, so that no users were joined"
    how = "in time order" if by_time else "interleaved evenly, since not all sources have times"
    return f"data.join_users: {shared} ids are in a further source; what they did is {how}"


def _preferences(
    user_ids: tuple[str, ...], owners: list[tuple[str, ...]], parts: list[Dataset]
) -> tuple[str, ...] | None:
    """One per user; of one who is in several sources all that they say."""
    if all(part.preferences is None for part in parts):
        return None
    said: dict[str, list[str]] = {user: [] for user in user_ids}
    for ids, part in zip(owners, parts, strict=True):
        for user, words in zip(ids, part.preferences or (), strict=False):
            if words and words not in said[user]:
                said[user].append(words)
    return tuple(" ".join(said[user]) for user in user_ids)


def _of_items(parts: list[tuple[tuple[T, ...] | None, int]], lacking: T) -> tuple[T, ...] | None:
    """One per item, out of what each part has and how many items are its; None where none has any.

    >>> _of_items([(("a.jpg",), 1), (None, 2)], "")
    ('a.jpg', '', '')
    """
    if all(values is None for values, _ in parts):
        return None
    return tuple(value for values, n in parts for value in values or (lacking,) * n)


def names_of(dataset: Dataset) -> tuple[str, ...]:
    """The domains of a data set, in the order of their items; one of one source is a domain that
    is called as it is.
    """
    return (dataset.name,) if dataset.domains is None else tuple(dict.fromkeys(dataset.domains))


def items_in(dataset: Dataset, domain: str) -> NDArray[np.bool_]:
    """bool ``(n_items,)``: which items are of a domain.

    Raises:
        NotFound: there is no such domain.
    """
    check_known(domain, names_of(dataset))
    if dataset.domains is None:
        return np.ones(dataset.n_items, dtype=bool)
    return np.array([name == domain for name in dataset.domains])


def check_known(domain: object, names: Iterable[str]) -> None:
    """Refuse a domain that there is not.

    Raises:
        NotFound: it is none of ``names``, or no name.
    """
    known = list(names)
    if not isinstance(domain, str) or domain not in known:
        raise NotFound(
            f"domain {quoted(domain, 100)} is not among those of the run; expected one of "
            f"{', '.join(map(repr, known))}"
        )
