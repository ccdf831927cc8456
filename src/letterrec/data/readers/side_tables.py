"""Tables beside the log: what they say of its items (title, text) and users (preference).

Their ids obey the rule of all ids. A table that knows none of the log's ids is refused, one that
knows few is reported.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import polars as pl

from letterrec.data.attributes import table_of
from letterrec.data.ids import checked_id
from letterrec.data.text import ItemText, title_of
from letterrec.errors import DataError

T = TypeVar("T")
_PAIRS = 100  # near misses that are kept
FEW = 0.5  # the share of the log's ids that a table beside it should know


@dataclass(frozen=True)
class SideTable(Generic[T]):
    """What a table beside the log says of the ids that are wanted.

    Attributes:
        where: the table.
        entries: id -> what is said of it.
        others: how many other ids the table has.
        example: one of them, ``""`` if there are none; preferably one that differs from a wanted id
            only in leading zeros, case or Unicode normalisation.
        like: the missing id that `example` nearly equals; ``""`` if there is none.
        notes: what was passed over or read differently, a counted line each.
    """

    where: Path
    entries: Mapping[str, T]
    others: int
    example: str = ""
    like: str = ""
    notes: tuple[str, ...] = ()


# Given the ids that are wanted: what a table says of them. The table is read when this is called.
LookUp = Callable[[Collection[str]], SideTable[T]]
# The rows of such a table: an id as the file has it, and what makes the entry of that row.
Rows = Iterable[tuple[object, Callable[[], T]]]


def look_up_in(where: Path, rows: Callable[[], Rows[T]], noun: str = "item") -> LookUp[T]:
    """The look-up in a table. Of several rows for one id, the first counts.

    Args:
        where: the table, for messages.
        rows: reads it; an entry is made only of the rows that are wanted.
        noun: what its ids are ids of.

    The look-up raises:
        DataError: an id cannot be one.
    """

    def look_up(wanted: Collection[str]) -> SideTable[T]:
        entries: dict[str, T] = {}
        likes = {_like(i): i for i in wanted}
        row = without = repeated = floats = spaces = 0
        example = float_example = ""
        pairs: list[tuple[str, str]] = []  # other id, wanted id that it nearly equals
        others = array("q")  # a hash each: catalogues are large
        for row, (value, make) in enumerate(rows(), start=1):
            key = checked_id(value, where, f"row {row}")
            if key is None:
                without += 1
                continue
            if key != value and not (isinstance(value, int)):
                if isinstance(value, str) and value.strip() == key:
                    spaces += 1
                else:
                    floats += 1
                    float_example = float_example or str(value)
            if key not in wanted:
                others.append(hash(key))
                if len(pairs) < _PAIRS and (near := likes.get(_like(key))):
                    pairs.append((key, near))
                example = example or key
            elif key in entries:
                repeated += 1
            else:
                entries[key] = make()
        n = len(np.unique(np.frombuffer(others, dtype=np.int64))) if others else 0
        lines = [
            (without, f"row of {where.name} without {noun}", "dropped"),
            (repeated, f"row of {where.name} for the same {noun} again", "the first counts"),
            (
                floats,
                f"{noun} id of {where.name} stored as a float ({float_example!r})",
                "read without the fraction",
            ),
            (spaces, f"{noun} id of {where.name} with spaces around it", "read without"),
        ]
        notes = tuple(f"{k:,} {_plural(what, k)}: {then}" for k, what, then in lines if k)
        if not row and noun == "item" and where.exists():
            notes = (f"{where.name} has no rows: nothing is read from it",)
        pair = next((p for p in pairs if p[1] not in entries), (example, ""))
        return SideTable(where, entries, n, pair[0], pair[1], notes)

    return look_up


def _plural(what: str, n: int) -> str:
    first, _, rest = what.partition(" of ")
    return what if n == 1 else f"{first}s of {rest}"


def _like(key: str) -> str:
    """Equal for ids that differ in leading zeros, case or Unicode normalisation only."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", key).casefold()).lstrip("0")


def check_match(
    found: SideTable[T], ids: Sequence[str], log: object, notes: list[str], noun: str = "item"
) -> None:
    """Note the ids that a table beside the log lacks, has besides, or writes differently.

    Args:
        found: what it says of the ids.
        ids: of the log.
        log: the log, for messages.
        notes: takes the lines.
        noun: what they are ids of.

    Raises:
        DataError: none of the ids is in it, though it has others.
    """
    notes += found.notes
    if not found.others:
        return
    name, n = found.where.name, len(found.entries)
    unknown = found.like or next((i for i in ids if i not in found.entries), "")
    same_look = unicodedata.normalize("NFC", unknown) == unicodedata.normalize("NFC", found.example)
    shown = ascii if same_look else repr
    sides = f"{shown(unknown)} in the log, {shown(found.example)} in {name}"
    if not n:
        raise DataError(
            f"{found.where}: none of its {counted(found.others, noun)} is among the {len(ids):,} "
            f"kept of {log} ({sides}); write the ids of both files alike, or take {name} away"
        )
    if n <= FEW * len(ids):
        notes.append(
            f"ONLY {n:,} of the log's {counted(len(ids), noun)} are in {name} ({sides}): "
            "are the ids of both written alike?"
        )
    elif found.like:
        notes.append(
            f"{name} has ids that differ from the log's in "
            f"{'Unicode normalisation' if same_look else 'leading zeros or case'} only ({sides}): "
            f"read as different {noun}s"
        )


def titles_and_texts(
    item_ids: Sequence[str], found: Mapping[str, ItemText], warnings: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Titles and texts in row order. The id replaces a missing title or text, which is counted in
    ``warnings``; texts are None if no item has one.
    """
    empty = ItemText("", "")
    entries = [found.get(i, empty) for i in item_ids]
    titles = tuple(e.title or i for e, i in zip(entries, item_ids, strict=True))
    if not any(e.text for e in entries):
        warnings.append("no item has a text: items are known by their interactions only")
        return titles, None
    without_title = sum(not e.title for e in entries)
    without_text = sum(not e.text for e in entries)
    if without_title:
        warnings.append(f"{counted(without_title, 'item')} without title: shown by id")
    if without_text:
        warnings.append(f"{counted(without_text, 'item')} without text: the id stands in for it")
    return titles, tuple(e.text or i for e, i in zip(entries, item_ids, strict=True))


def categories_of(
    item_ids: Sequence[str], found: Mapping[str, ItemText]
) -> tuple[tuple[str, ...], ...] | None:
    """The category of each item with those above it, ``()`` where it has none; None where no item
    has one.
    """
    empty = ItemText("", "")
    categories = tuple(found.get(i, empty).categories for i in item_ids)
    return categories if any(categories) else None


def attributes_of(item_ids: Sequence[str], found: Mapping[str, ItemText]) -> pl.DataFrame | None:
    """What the columns of a catalogue say of each item; see `Dataset.attributes`."""
    empty = ItemText("", "")
    return table_of([found.get(i, empty).attributes for i in item_ids])


def images_of(item_ids: Sequence[str], found: Mapping[str, ItemText]) -> tuple[str, ...] | None:
    """The address of each item's image, ``""`` where it has none; None where no item has one."""
    empty = ItemText("", "")
    images = tuple(found.get(i, empty).image for i in item_ids)
    return images if any(images) else None


def preferences_of(user_ids: Sequence[str], said: Mapping[str, object]) -> tuple[str, ...] | None:
    """What each user likes, in words; ``""`` for users without one, None if no user has one.

    >>> preferences_of(["1", "2"], {"2": ["mild soap", "no  scent"]})
    ('', 'mild soap, no scent')
    """
    if not said:
        return None
    preferences = tuple(title_of(said.get(user)) for user in user_ids)
    return preferences if any(preferences) else None


def counted(n: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "item"), counted(1200, "item")
    ('1 item', '1,200 items')
    """
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
