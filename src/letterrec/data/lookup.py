"""Users and items, looked up by the ids that callers give."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

from letterrec.data.dataset import Dataset
from letterrec.data.domains import names_of, qualified
from letterrec.data.ids import as_id
from letterrec.errors import NotFound, RequestError, short


def one_id(value: object, name: str, known: Container[str]) -> str:
    """An id by the rule of `data.ids`; one that is known stays as it is.

    Args:
        value: a text or a whole number.
        name: of what it is, for messages.
        known: ids that there are.

    Raises:
        RequestError: it is no id.

    >>> one_id(2.0, "item", {"b"})
    '2'
    """
    if isinstance(value, str) and value in known:
        return value
    try:
        item = as_id(value)
    except ValueError as error:
        raise RequestError(f"{name}: {short(error)}") from None
    if item is None:
        raise RequestError(f"{name}: {value!r} is no id; expected text or a whole number")
    return item


def user_row(user: object, dataset: Dataset) -> int | None:
    """The row of a user; None if there is none. Among users of several sources an id is enough
    that is of one of them alone.

    Raises:
        NotFound: several sources have a user of this id.
        RequestError: it is no id.
    """
    rows = dataset.user_rows
    known = one_id(user, "user", rows)
    row = rows.get(known)
    if row is not None or dataset.domains is None:
        return row
    ids = [qualified(name, known) for name in names_of(dataset)]
    there = [u for u in ids if u in rows]
    if len(there) > 1:
        raise NotFound(
            f"user {user!r} is not one user: there are {' and '.join(map(repr, there))}; "
            "name one of them"
        )
    return rows[there[0]] if there else None


def without_rare(notes: Iterable[str], what: str) -> str:
    """The end of a message on an unknown id: that the k-core dropped rare users or items, if it
    did.

    >>> without_rare(["5-core: 2 users, 3 items and 9 interactions dropped"], "items")
    '; items with fewer than 5 interactions were dropped by the 5-core'
    >>> without_rare([], "items")
    ''
    """
    for note in notes:
        if found := re.match(r"(?:[^:]*: )?(\d+)-core: ", note):
            k = found[1]
            return f"; {what} with fewer than {k} interactions were dropped by the {k}-core"
    return ""
