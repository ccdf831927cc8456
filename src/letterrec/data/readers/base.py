"""The seam of the readers: what one is (`Reader`), and what a caller may ask of it (`ReadOptions`).

To add a format: write a module that ends in a `Reader`, and name that in `discovery.READERS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import get_args

from letterrec.config.keywords import Order, Role
from letterrec.data.dataset import Dataset
from letterrec.data.readers.columns import candidates_for, find_columns
from letterrec.errors import DataError


@dataclass(frozen=True)
class ReadOptions:
    """How a source is read.

    Attributes:
        k_core: drop users and items with fewer interactions, repeatedly; 0 drops none, None takes
            the format's default.
        min_rating: drop interactions with a lower rating, or without one, before anything else;
            None keeps all.
        order: "time" sorts by the times; "rows" takes the order of the rows for the order in time.
        columns: role -> the column of the source that has it.
        grades: name -> the lowest rating of that grade; a rating is of the highest one that it
            reaches, and dropped below all of them. Grades take the place of behaviours.

    Raises:
        DataError: a value makes no sense.
    """

    k_core: int | None = None
    min_rating: float | None = None
    order: Order = "time"
    columns: Mapping[str, str] = field(default_factory=dict)
    grades: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.k_core is not None and (not _is(self.k_core, Integral) or self.k_core < 0):
            raise DataError(
                f"k_core is {self.k_core!r}; expected 0 (no filtering) or more, a whole number"
            )
        if self.min_rating is not None and (
            not _is(self.min_rating, Real) or not math.isfinite(self.min_rating)
        ):
            raise DataError(f"min_rating is {self.min_rating!r}; expected a finite number")
        if self.order not in get_args(Order):
            raise DataError(f"order is {self.order!r}; expected 'time' or 'rows'")
        if not isinstance(self.columns, Mapping):
            raise DataError(
                f"columns is {self.columns!r}; expected a dict such as {{'user': 'userId'}}"
            )
        self._check_grades()
        roles: dict[str, str] = {}  # column -> the role that it has
        for role, column in self.columns.items():
            if role not in get_args(Role):
                known = ", ".join(get_args(Role))
                raise DataError(f"columns names {role!r}; expected some of {known}")
            if not isinstance(column, str) or not column:
                raise DataError(f"columns has {column!r} for {role!r}; expected a column's name")
            other = roles.setdefault(column, role)
            if other != role and {other, role} != {"item", "title"}:  # a name may be the id
                raise DataError(
                    f"column {column!r} was given for both {other!r} and {role!r}; "
                    "give each its own column"
                )

    def _check_grades(self) -> None:
        if not isinstance(self.grades, Mapping) or not all(
            isinstance(name, str) and name and _is(least, Real) and math.isfinite(least)
            for name, least in self.grades.items()
        ):
            raise DataError(
                f"grades is {self.grades!r}; expected names with their lowest ratings, such as "
                "{'disliked': 0, 'liked': 4}"
            )
        if len(set(self.grades.values())) < len(self.grades):
            raise DataError(
                f"grades is {dict(self.grades)!r}: two begin at the same rating; give each its own"
            )
        if self.grades and "behaviour" in self.columns:
            raise DataError(
                f"grades are cut out of ratings, and column {self.columns['behaviour']!r} was "
                "given for 'behaviour'; leave out one of them"
            )

    @property
    def least_rating(self) -> float | None:
        """The lowest rating that is kept; None where ratings are not looked at."""
        lowest = [] if self.min_rating is None else [self.min_rating]
        return max([*lowest, *([min(self.grades.values())] if self.grades else [])], default=None)

    def refuse_title(self, where: object) -> None:
        """For formats whose titles are always in the same place.

        Raises:
            DataError: a column of titles was named.
        """
        if "title" in self.columns:
            raise DataError(
                f"{where} takes its titles from its metadata; leave out --columns "
                f"title={self.columns['title']}"
            )

    def log_roles(self, found: Sequence[str]) -> list[Role]:
        """What the columns of an interaction log must give.

        Args:
            found: the columns that there are: one that is called as behaviours are has them.
        """
        roles: list[Role] = ["user", "item"]
        if self.order == "time":
            roles.append("timestamp")
        if self.least_rating is not None:
            roles.append("rating")
        free = [c for c in found if c not in self.columns.values()]
        named = "behaviour" in self.columns or len(candidates_for("behaviour", free, [])) == 1
        if named and not self.grades:
            roles.append("behaviour")
        return roles

    def log_columns(
        self,
        found: Sequence[str],
        path: Path,
        notes: list[str],
        own: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """The columns of an interaction log: role -> column.

        Args:
            found: the columns that there are.
            path: of the log.
            notes: gets a line for each column that is read under another name than its own.
            own: role -> column, as the format has it; ``columns`` overrules it.

        Raises:
            DataError: a role has no column, or several could have it.
        """
        return find_columns(
            found,
            self.log_roles(found),
            where=path,
            told={**(own or {}), **self.columns},
            notes=notes,
            file=path.name,
        )


@dataclass(frozen=True)
class Reader:
    """A format of data sources.

    Attributes:
        name: what it is called in messages.
        recognises: whether a file or folder is of this format. It may raise `DataError` where what
            is in a file cannot be read; that is said if no other reader recognises the source.
        read: read a source that is recognised. Raises `DataError`: it cannot be used.
        by_content: whether it is told by what is in a file rather than by names. Such readers are
            asked only where no name tells the format, for each file of a folder in turn; the first
            to recognise one reads the folder. Of those told by names, only one may recognise it.
    """

    name: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, ReadOptions], Dataset]
    by_content: bool = False


def files_of(source: Path) -> list[Path]:
    """The file itself, or the files directly inside a folder, in the order of their names."""
    return [source] if source.is_file() else sorted(p for p in source.iterdir() if p.is_file())


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
