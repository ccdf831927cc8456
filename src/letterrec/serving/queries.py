"""Recommendation requests: what they may contain, and how ids of any type are read."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from numbers import Integral
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from letterrec.data.lookup import one_id
from letterrec.decoding.wish_effect import WishEffect
from letterrec.errors import RequestError, quoted, short
from letterrec.serving.catalogue.filters import Where
from letterrec.serving.catalogue.items import Catalogue

Unknown = Literal["skip", "refuse"]
_SHOWN = 5  # ids in a message


@dataclass(frozen=True)
class Query:
    """What one recommendation request asks.

    Attributes:
        history: item ids, oldest first.
        k: items wanted.
        exclude_seen: leave out the items of the history.
        allowed: recommend only from these items; None allows all.
        blocked: never recommend these.
        beam: prefixes kept per level, at least ``k``; None takes the run's.
        instruction: what is wanted, in words, for a recommender that reads them.
        unknown: whether ids that the catalogue does not have are skipped or refused.
        user: whose history it is, by id, if that is a user of the run: a model may have learned of
            each user.
        where: recommend only items of these attributes; None allows all.
        behaviours: by which behaviour each item came into the history, for a run that tells
            behaviours apart; None: all by the first of its targets.
        behaviour: what is asked for: what will be bought, or viewed; None: the run's targets.
        domain: recommend only from this one; None: from all.
        explain: whether the answer is to be explained.
    """

    history: Iterable[object]
    k: int = 10
    exclude_seen: bool = True
    allowed: Iterable[object] | None = None
    blocked: Iterable[object] = ()
    beam: int | None = None
    instruction: str | None = None
    unknown: Unknown = "skip"
    user: object = None
    where: Where | None = None
    behaviours: Sequence[str] | None = None
    behaviour: str | None = None
    domain: str | None = None
    explain: bool = False


@dataclass(frozen=True, eq=False)
class Filter:
    """What a query asks besides its history; ``mask`` marks the items that it may get, and
    ``behaviour`` is the row of the one asked for, -1 for the run's targets; ``domain`` is the one
    that it is limited to.
    """

    k: int
    beam: int | None
    instruction: str | None
    mask: NDArray[np.bool_] | None = None
    skipped: list[str] = field(default_factory=list)
    behaviour: int = -1
    domain: str | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """A checked query, in item rows.

    ``mask`` marks the items that it may get, ``skipped`` has the ids that the catalogue does not
    know, and ``user`` is the row of the user, -1 if that is not known. ``behaviours`` are the rows
    of those of the history, one for each of its items, empty where the run knows one kind of
    interaction; ``behaviour`` is that of the one asked for, -1 for the run's targets; ``seen_by``
    as of `Dataset.seen_by`; ``domain`` is the one that it is limited to; ``explain`` is whether the
    answer is to be explained.
    """

    rows: list[int]
    k: int
    beam: int
    exclude_seen: bool
    mask: NDArray[np.bool_] | None
    instruction: str | None = None
    skipped: tuple[str, ...] = ()
    user: int = -1
    behaviours: tuple[int, ...] = ()
    behaviour: int = -1
    seen_by: NDArray[np.bool_] | None = None
    domain: str | None = None
    explain: bool = False

    def seen(self) -> set[int]:
        """The rows of the items that are left out as seen."""
        if not self.exclude_seen:
            return set()
        if self.seen_by is None or not self.behaviours:
            return set(self.rows)
        pairs = zip(self.rows, self.behaviours, strict=True)
        return {row for row, behaviour in pairs if self.seen_by[behaviour]}


class Answered(NamedTuple):
    """The answer to a query, and what a model has to say beside it.

    Attributes:
        items: rows with log-probabilities or scores, best first.
        note: what should be known of it; None: nothing.
        wished: what the query's wish changed in what memory counts, where the answer is to be
            explained and it has one.
        next_behaviour: how likely the next item comes by each behaviour, where the answer is to be
            explained and that is predicted.
    """

    items: list[tuple[int, float]]
    note: str | None
    wished: WishEffect | None
    next_behaviour: dict[str, float] | None


def checked(query: Query) -> tuple[int, int | None, str | None]:
    """``k``, beam and instruction of a query.

    Raises:
        RequestError: one of them, or another value that is not an id, is invalid.
    """
    numbers: dict[str, object] = {"k": query.k, "beam": 1 if query.beam is None else query.beam}
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, Integral) or int(number) < 1:
            raise RequestError(f"{name} = {number!r}: expected a whole number of at least 1")
    if not isinstance(query.exclude_seen, bool | np.bool_):
        raise RequestError(f"exclude_seen = {query.exclude_seen!r}: expected True or False")
    if query.unknown not in ("skip", "refuse"):
        raise RequestError(f"unknown = {query.unknown!r}: expected 'skip' or 'refuse'")
    if not isinstance(query.instruction, str | None):
        raise RequestError(f"instruction = {query.instruction!r}: expected text")
    instruction = None if query.instruction is None else " ".join(query.instruction.split())
    if instruction is not None and not any(c.isalnum() for c in instruction):
        raise RequestError(
            f"instruction = {quoted(query.instruction)}: expected words that say what is "
            "wanted, such as 'something for sensitive skin'; leave it out for none"
        )
    return int(query.k), None if query.beam is None else int(query.beam), instruction


def ids_of(items: Iterable[object], name: str, known: Container[str]) -> list[str]:
    """Ids in their order, by the rule of `data.ids`; ids that are known stay as they are.

    Args:
        items: texts or whole numbers, of any sequence or column.
        name: of what they are, for messages.
        known: ids that there are.

    Raises:
        RequestError: it is no collection, or holds what is no id.

    >>> ids_of((1, "b", 2.0), "history", {"b"})
    ['1', 'b', '2']
    """
    is_history = name == "history"
    what = "histories is a list of lists" if is_history else f"{name} is a collection"
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise RequestError(f"{what} of item ids; {type_and_value(items)} came instead")
    if is_history and isinstance(items, Set):
        raise RequestError("a history is in order, oldest first; a set, which has none, came")
    if not isinstance(items, list | tuple | Set) and hasattr(items, "columns"):
        raise RequestError(f"{what} of item ids; a table came instead: give one of its columns")
    return [one_id(item, name, known) for item in items]


def left_out(catalogue: Catalogue, query: Prepared) -> str:
    """Why few items or none are left for a query, in words."""
    active = catalogue.states == 0
    allowed = active.copy()
    if query.domain is not None:
        allowed &= catalogue.domain(query.domain).flags
    elsewhere = int((active & ~allowed).sum())
    if query.mask is not None:
        allowed[: len(query.mask)] &= query.mask
        allowed[len(query.mask) :] = False
    seen = len(query.seen())
    reasons = [
        (seen, "in the history (seen)"),
        (catalogue.n_items - int(active.sum()), "blocked or deleted"),
        (elsewhere, "of other domains"),
        (int((active & ~allowed).sum()) - elsewhere, "not allowed"),
    ]
    said = ", ".join(f"{n} {words}" for n, words in reasons if n)
    wished = "" if query.instruction is None else "; the wish may rule out others"
    return (
        f"of the {catalogue.n_items} items of the catalogue are {said or 'none left out'}{wished}"
    )


def has_any(items: object) -> bool:
    """Whether a collection has members; also true of other values, which are refused later."""
    try:
        return len(items) > 0  # type: ignore[arg-type]
    except TypeError:
        return True


def type_and_value(value: object) -> str:
    """A value's type and content in a few words, for messages.

    >>> type_and_value("abc"), type_and_value(3)
    ("a string ('abc')", 'int (3)')
    """
    name = "a string" if isinstance(value, str) else type(value).__name__
    return f"{name} ({quoted(value)})"


def listed(ids: list[str]) -> str:
    """Ids for a message: the first few and how many more.

    >>> listed(["a"]), listed(list("abcdefgh"))
    ("item 'a'", "items 'a', 'b', 'c', 'd', 'e' and 3 more")
    """
    shown = ", ".join(repr(short(i)) for i in ids[:_SHOWN])
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return f"item{'s' if len(ids) > 1 else ''} {shown}{more}"


def one_line(text: str, most: int = 300) -> str:
    """Text that may hold what a client sent, as one line of bounded length: the middle is cut out.

    >>> one_line("a\\nb"), one_line("x" * 30 + "; check it", most=20)
    ('a\\\\nb', 'xxxxxxxxxxxxx... it')
    """
    if len(text) > most:
        text = f"{text[: 2 * most // 3]}...{text[-(most // 3 - 3) :]}"
    if not text.isprintable():
        escaped = (c if c.isprintable() else ascii(c)[1:-1] for c in text)
        return one_line("".join(escaped), most)
    return text
