"""The role of each column of a table: by its own name, by common other names, or as told.

A column that has a role is never taken for another one, nor proposed for it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence

from letterrec.config.keywords import Role
from letterrec.errors import DataError, quoted

# role -> names that are taken for it, in any case and with any of "_- " between the words;
# a later line counts only where no name of an earlier one is there
KNOWN: dict[str, tuple[tuple[str, ...], ...]] = {
    "user": (
        ("user", "user_id", "uid"),
        (
            *("user_key", "username", "customer_id", "reviewer_id", "visitor_id", "member_id"),
            *("account_id", "client_id", "shopper_id", "profile_id"),
        ),
        ("session_id", "session"),
    ),
    "item": (
        ("item", "item_id", "iid"),
        (
            *("movie_id", "asin", "parent_asin", "article_id", "product_id", "venue_id"),
            *("business_id", "track_id", "song_id", "artist_id", "album_id", "book_id", "isbn"),
            *("game_id", "app_id", "news_id", "recipe_id", "anime_id", "video_id"),
            *("restaurant_id", "location_id", "poi_id", "stock_code", "sku"),
        ),
    ),
    "timestamp": (
        ("timestamp", "time", "ts", "date", "datetime", "unix_review_time", "unix_timestamp"),
        ("t_dat", "event_time", "review_date", "date_added", "created_at", "invoice_date"),
    ),
    "rating": (
        ("rating", "ratings", "stars", "overall", "book_rating", "star_rating", "user_rating"),
        ("review_rating", "review_overall", "score"),
        ("value",),
    ),
    "behaviour": (
        ("behaviour", "behavior"),
        ("event", "event_type", "action", "action_type", "behaviour_type", "behavior_type"),
        ("interaction_type",),
    ),
    "title": (
        ("title", "name", "item_title", "item_name"),
        (
            *("movie_title", "product_title", "product_name", "prod_name", "book_title"),
            *("app_name", "artist_name", "track_name", "song_title", "song_name", "album_name"),
            *("game_title", "business_name"),
        ),
    ),
    "preference": (("preference", "preferences"),),
}
_OF_CATALOGUE = ("id",)  # the item of a catalogue, where nothing else is
_OTHER = re.compile(r"(?<=\w)(?: +|[\^~:/\\])(?=\w)")  # a separator that is not read
_LISTED = 12  # columns that an error lists


def find_columns(
    found: Sequence[str],
    roles: Sequence[Role],
    *,
    where: object,
    told: Mapping[str, str],
    notes: list[str],
    file: str = "",
    has_option: bool = True,
) -> dict[str, str]:
    """Role -> column, for every one of ``roles``.

    Args:
        found: the columns that are there.
        roles: what is wanted.
        where: the file, for errors.
        told: role -> column, as the caller has it; this decides.
        notes: gets a line for each column that is read under another name than its own.
        file: the file's name in these lines.
        has_option: whether the caller takes ``--columns``, which errors then name.

    Raises:
        DataError: a role has no column, or several could have it.
    """
    columns: dict[str, str] = {}
    taken = {column: role for role, column in told.items() if role != "title"}
    for role in roles:
        if role in told:
            if told[role] not in found:
                raise DataError(
                    f"{where} has no column {told[role]!r}, which was given for {role!r}, "
                    f"only {listed(found)}"
                )
            columns[role] = told[role]
        elif role in found and role not in taken:
            columns[role] = role
    for role in roles:
        if role not in columns:
            candidates = candidates_for(role, found, columns.values())
            if len(candidates) > 1:
                raise DataError(
                    f"{where} has several columns that may be {role!r}: "
                    f"{' and '.join(map(repr, candidates))}; "
                    + (
                        f"choose with --columns {role}={candidates[0]}"
                        if has_option
                        else f"call the right one {role!r}"
                    )
                )
            if candidates:
                columns[role] = candidates[0]
    for role in roles:
        if role not in columns and role in taken and role in found:
            raise DataError(
                f"{where}: column {role!r} was given for {taken[role]!r}; say which column is "
                f"{role!r} with --columns {role}=NAME"
            )
        if role not in columns:
            raise missing_column(where, role, found, columns.values(), has_option=has_option)
    notes += [
        f"{file}: column {column!r} is read as {role!r}"
        for role, column in columns.items()
        if column != role and role not in told
    ]
    return {role: columns[role] for role in roles}


def candidates_for(role: Role, found: Sequence[str], used: Collection[str]) -> list[str]:
    """The columns that a role's known names fit, of those that are free.

    >>> candidates_for("item", ["userId", "movieId", "rating"], [])
    ['movieId']
    """
    free = [c for c in found if c not in used]
    for names in KNOWN[role]:
        plain = {_plain(n) for n in names}
        if fitting := [c for c in free if _plain(c) in plain]:
            exact = [c for c in fitting if c.lower() == role]
            return exact if len(exact) == 1 else fitting
    return []


def item_of_catalogue(found: Sequence[str], log_item: str) -> str | None:
    """The column of a catalogue that is called ``id``, where no other can be the item."""
    if log_item in found or candidates_for("item", found, []):
        return None
    return next((c for c in found if c.lower() in _OF_CATALOGUE), None)


def missing_column(
    where: object,
    role: Role,
    found: Sequence[str],
    used: Collection[str] = (),
    *,
    has_option: bool = True,
) -> DataError:
    """The error for a role that no column has, with the free column that comes closest; and with
    the option ``--columns`` where there is one.
    """
    if len(found) == 1 and (other := _OTHER.search(found[0].strip())):
        return DataError(
            f"{where}: its first line {quoted(found[0], 80)} has fields separated by {other[0]!r}; "
            "expected a comma, a tab, ';', '|' or '::'"
        )
    names = [role, *(n for tier in KNOWN[role] for n in tier)]
    similarity = {
        column: max(difflib.SequenceMatcher(None, _plain(column), _plain(n)).ratio() for n in names)
        for column in found
        if column not in used and not any(candidates_for(r, [column], []) for r in _others(role))
    }
    best = max(similarity, key=lambda c: similarity[c], default=None)
    if best is not None and similarity[best] >= 0.7:
        hint = f"rename {best!r} to {role!r}"
        option = f", or give --columns {role}={best}"
    else:
        hint = f"add a column {role!r}"
        option = f", or say which it is with --columns {role}=NAME"
    hint += option if has_option else ""
    if role == "timestamp":
        hint += "; if the rows are in the order of time, --set data.order=rows takes that instead"
    elif role == "rating":
        hint += "; or leave out data.min_rating and data.grades"
    return DataError(f"{where} has no column {role!r}, only {listed(found)}; {hint}")


def _others(role: Role) -> list[Role]:
    roles: tuple[Role, ...] = (
        *("user", "item", "timestamp"),
        *("rating", "behaviour", "title"),
    )
    return [r for r in roles if r != role]


def _plain(name: str) -> str:
    return re.sub(r"[\s_.-]", "", name.lower())


def listed(columns: Sequence[str]) -> str:
    """Names of columns for a message: the first few and how many more."""
    more = len(columns) - _LISTED
    return ", ".join(columns[:_LISTED]) + (f" and {more} more" if more > 0 else "")
