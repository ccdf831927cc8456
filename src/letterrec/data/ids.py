"""External ids: what counts as a user or item id, whichever file, call or request it comes from.

One rule, cell by cell: an id never depends on other ids of its column.
"""

from __future__ import annotations

import csv
import math
import re
from decimal import Decimal
from numbers import Integral, Real

from letterrec.errors import RequestError

MISSING = ("nan", "null", "none", "<na>")  # whatever their case: what tools write for no value
WHOLE = r"^[+-]?[0-9]+\.0+$"  # a whole number that a tool stored as a float
ROUNDED = r"^[+-]?[0-9](\.[0-9]+)?[eE]\+[0-9]+$"  # a float so large that digits may be lost
_EXACT = 2**53  # whole numbers beyond are not all floats


def as_id(value: object) -> str | None:
    """The id that a value stands for; None where it stands for none.

    Text is stripped of surrounding white space; an integer becomes its digits; a whole number
    that was stored as a float (``1.0``, also as text) is the same id as the integer. NaN, None,
    empty text and the words ``nan``, ``null``, ``none``, ``<na>`` are no ids.

    Raises:
        ValueError: the value cannot be an id: true or false, a list, a date, or a float so large
            that its digits may be lost; the message says what came and what is expected.

    >>> [as_id(v) for v in (7, 7.0, "7.0", " 007 ", 1.5, float("nan"), "NULL", "")]
    ['7', '7', '7', '007', '1.5', None, None, None]
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if not text or text.lower() in MISSING:
            return None
        if re.match(WHOLE, text):
            text = text.partition(".")[0].lstrip("+")
            digits = text.lstrip("-")
            if int(digits) > _EXACT:
                raise ValueError(_rounded(value))
            return str(int(text))
        if re.match(ROUNDED, text):
            raise ValueError(_rounded(value))
        return text
    if isinstance(value, bool) or not isinstance(value, Integral | Real | Decimal):
        if type(value).__name__ in ("NaTType", "NAType"):  # of pandas
            return None
        kind = type(value).__name__
        raise ValueError(f"{value!r} is no id ({kind}); expected text or a whole number")
    if isinstance(value, Integral):
        return str(int(value))
    number = float(value)
    if math.isnan(number):
        return None
    if not number.is_integer():
        return str(number)
    if abs(number) > _EXACT:
        raise ValueError(_rounded(value))
    return str(int(number))


def _rounded(value: object) -> str:
    return (
        f"the id {value!r} was stored as a float and may have lost digits; "
        "expected text or whole numbers: export the column as text"
    )


def split_ids(text: str, option: str) -> list[str]:
    """The ids of one option of the command line: a line of a CSV file.

    Args:
        text: ids with commas between them; an id that has a comma, or begins with a quote, stands
            in quotes.
        option: its name, for messages.

    Raises:
        RequestError: the quotes do not match, or a part is no id.

    >>> split_ids('"Tyler, The Creator", 12" Single,7', "--history")
    ['Tyler, The Creator', '12" Single', '7']
    """
    hint = "quote an id that has a comma, as in '\"Tyler, The Creator\",Other'"
    try:
        rows = list(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise RequestError(f"{option} {text}: not a list of ids ({error}); {hint}") from None
    ids: list[str] = []
    for part in rows[0] if rows else ():
        if not part.strip():
            continue  # as in "a,,b"
        found = as_id(part)
        if found is None:
            raise RequestError(f"{option} {text}: {part.strip()!r} is no id")
        ids.append(found)
    return ids
