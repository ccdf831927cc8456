"""What items are called and say, and what users like: titles and texts out of raw fields.

Knows how fields become one text. Leaves finding the fields to the readers, and embedding the text
to `content`.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from letterrec.data.ids import as_id
from letterrec.errors import DataError


class ItemText(NamedTuple):
    """An item's title and its whole text; empty where the source has none."""

    title: str
    text: str


# Given the item ids that are wanted: their texts, and how many other items the catalogue holds.
Catalogue = Callable[[Collection[str]], tuple[Mapping[str, ItemText], int]]


def item_text(title: Any, fields: Iterable[Any] = ()) -> ItemText:
    """Title first, then every further field that is text (or a list of texts), without repeats.

    HTML entities are resolved and white space is collapsed.

    >>> item_text("Nail &amp; polish", [["Beauty", "Nails"], None, 3.5, "Beauty, Nails"])
    ItemText(title='Nail & polish', text='Nail & polish. Beauty, Nails')
    """
    cleaned = [_clean(title), *map(_clean, fields)]
    return ItemText(cleaned[0], ". ".join(dict.fromkeys(t for t in cleaned if t)))


def _clean(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(dict.fromkeys(t for t in map(_clean, value) if t))
    if not isinstance(value, str):
        return ""
    printable = value.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate becomes "?"
    return " ".join(html.unescape(printable).split())


def first_of_each(
    rows: Iterable[tuple[object, Any, Iterable[Any]]], wanted: Collection[str], where: object
) -> tuple[dict[str, ItemText], int]:
    """What a catalogue has of the items that are wanted; of an item that comes twice, the first.

    Args:
        rows: id, title and further fields of each item, as `as_id` and `item_text` take them.
        wanted: item ids.
        where: the file, for errors.

    Returns:
        The texts, and how many other items there are.

    Raises:
        DataError: an id cannot be one.
    """
    found: dict[str, ItemText] = {}
    others: set[str] = set()
    for value, title, fields in rows:
        try:
            item = as_id(value)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
        if item is None:
            continue
        if item not in wanted:
            others.add(item)
        elif item not in found:
            found[item] = item_text(title, fields)
    return found, len(others)


def titles_and_texts(
    item_ids: Sequence[str], found: Mapping[str, ItemText], warnings: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Titles and texts in row order, completed: the id for a missing title, the title for a
    missing text, each counted in ``warnings``; no texts where no item has one.
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
    return titles, tuple(e.text or t for e, t in zip(entries, titles, strict=True))


def preferences_of(user_ids: Sequence[str], said: Mapping[str, Any]) -> tuple[str, ...] | None:
    """What each user likes, in words, ``""`` where that is not said; None where it is of nobody.

    >>> preferences_of(["1", "2"], {"2": ["mild soap", "no  scent"]})
    ('', 'mild soap, no scent')
    """
    if not said:
        return None
    preferences = tuple(_clean(said.get(user)) for user in user_ids)
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
