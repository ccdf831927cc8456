"""What items are called and say, and what users like: titles and texts out of raw fields."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from letterrec.data.ids import as_id
from letterrec.data.words import printable, title_of, title_words, worded, words_of
from letterrec.errors import DataError

_PAIRS = 100  # ids that are like others are looked at
FEW = 0.5  # the share of the log's ids that a table beside it should know


class ItemText(NamedTuple):
    """An item's title and its whole text; empty where the source has none."""

    title: str
    text: str


def item_text(title: Any, fields: Iterable[Any] | Mapping[str, Any] = ()) -> ItemText:
    """The title as it is, and the text: the words of the title, then those of every further field
    that is text (or a list of texts), without repeats.

    Of fields with names, those are left out whose names say that they hold no words.

    >>> item_text("Nail &amp; polish", [["Beauty", "Nails"], None, 3.5, "Beauty, Nails"])
    ItemText(title='Nail & polish', text='Nail & polish. Beauty, Nails')
    """
    shown = title_of(title)
    further = worded(fields) if isinstance(fields, Mapping) else map(words_of, fields)
    texts = [printable(t) for t in (title_words(shown), *further) if t]
    return ItemText(shown, ". ".join(dict.fromkeys(texts)))


class Found(NamedTuple):
    """What a table beside the log says of the ids that are wanted.

    Attributes:
        where: the table.
        entries: id -> what is said of it: `ItemText` of an item, likings of a user.
        others: how many other ids the table has.
        example: one of them, ``""`` where there are none; one that differs from a wanted id in
            leading zeros, case or Unicode normalisation only, where there is such.
        like: the wanted id that it is like and that has no entry, or ``""``.
        notes: what was passed over or read differently, a counted line each.
    """

    where: Path
    entries: Mapping[str, Any]
    others: int
    example: str = ""
    like: str = ""
    notes: tuple[str, ...] = ()


# Given the ids that are wanted: what a table says of them.
Catalogue = Callable[[Collection[str]], Found]
# The rows of such a table: an id as the file has it, and what makes an entry of the row.
Rows = Callable[[], Iterable[tuple[object, Callable[[], Any]]]]


def look_up_in(where: Path, rows: Rows, noun: str = "item") -> Catalogue:
    """A table whose ids obey the rule of all ids (`as_id`); of an id's rows, the first counts.

    The catalogue raises:
        DataError: an id cannot be one.
    """

    def look_up(wanted: Collection[str]) -> Found:
        entries: dict[str, Any] = {}
        likes = {_like(i): i for i in wanted}
        row = without = repeated = floats = spaces = 0
        example = float_example = ""
        pairs: list[tuple[str, str]] = []  # other id, wanted id that it is like
        others = array("q")  # a hash each: catalogues are large
        for row, (value, make) in enumerate(rows(), start=1):
            try:
                key = as_id(value)
            except ValueError as error:
                raise DataError(f"{where}: row {row}: {error}") from None
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
        if not row and noun == "item":
            notes = (f"{where.name} has no rows: nothing is read from it",)
        pair = next((p for p in pairs if p[1] not in entries), (example, ""))
        return Found(where, entries, n, *pair, notes)

    return look_up


def _plural(what: str, n: int) -> str:
    first, _, rest = what.partition(" of ")
    return what if n == 1 else f"{first}s of {rest}"


def _like(key: str) -> str:
    """Equal for ids that differ in leading zeros, case or Unicode normalisation only."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", key).casefold()).lstrip("0")


def check_match(
    found: Found, ids: Sequence[str], log: Path | object, notes: list[str], noun: str = "item"
) -> None:
    """Say what a table beside the log lacks, has besides, or calls differently.

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
    """Titles and texts in row order, completed: the id for a missing title, and for a missing
    text, each counted in ``warnings``; no texts where no item has one.
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


def preferences_of(user_ids: Sequence[str], said: Mapping[str, Any]) -> tuple[str, ...] | None:
    """What each user likes, in words, ``""`` where that is not said; None where it is of nobody.

    >>> preferences_of(["1", "2"], {"2": ["mild soap", "no  scent"]})
    ('', 'mild soap, no scent')
    """
    if not said:
        return None
    preferences = tuple(title_of(said.get(user)) for user in user_ids)
    return preferences if any(preferences) else None


def sorted_ids(ids: Iterable[str]) -> list[str]:
    """Distinct ids `in_row_order`.

    Raises:
        DataError: an id cannot be written as UTF-8.

    >>> sorted_ids(["10", "9", "10"]), sorted_ids(["u10", "u9", "7"])
    (['9', '10'], ['7', 'u10', 'u9'])
    """
    try:
        distinct = pl.DataFrame({"id": list(set(ids))}, schema={"id": pl.String})
    except UnicodeEncodeError as error:
        near = str(error.object)[max(0, error.start - 8) : error.end + 8]
        raise DataError(f"an id is not UTF-8 near {near!r}; expected ids of valid text") from None
    return in_row_order(distinct)["id"].to_list()


def in_row_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows by the column ``id``: by number where all are numbers, else by code point."""
    number = pl.col("id").str.strip_chars_start("0")
    if frame["id"].str.contains(r"^[0-9]+$").all():
        return frame.sort(number.str.len_bytes(), number, "id")
    return frame.sort("id")


def counted(n: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "item"), counted(1200, "item")
    ('1 item', '1,200 items')
    """
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
