"""What can go wrong by a user's mistake, one class per kind.

Every error carries one line: what was given, what was expected, what to do next.
The command line prints that line and exits with code 2; a traceback means a defect in LetterRec.

```
LetterRecError
├── DataError        the data source: missing columns, empty files, unreadable times, ...
├── SettingsError    a recipe or a --set: unknown key, wrong type, impossible combination
├── IdentifierError  a code space too small, identifiers that do not match the items
├── RunError         a run folder: missing, unfinished, damaged, made from other data
├── RequestError     a request that cannot be answered as it is: k too large, ...
│   ├── NotFound     it names a user, an item or a domain that the run does not know
│   └── Conflict     it would change what must stay, such as an item's identifier
├── Overloaded       more requests than can be answered in time
└── MissingExtra     an optional package that is not installed
```
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import unquote, urlparse

_PLAIN = (str, bytes, int, float, list, tuple, set, dict)  # whose beginning says what they are


def short(text: object, most: int = 60) -> str:
    """Text as a message has it: on one line, cut to a length that a line can hold.

    >>> short("a  line of words", most=9)
    'a line...'
    """
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 3] + "..."


def quoted(value: object, most: int = 60) -> str:
    """A value as a message has it: as Python spells it, short; of what is neither short nor plain,
    the type.

    >>> quoted({"training": 5}), quoted("line of words", most=9), quoted(slice("x" * 99))
    ("{'training': 5}", "'line ...", 'an object of type slice')
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number too long, a table too deep
        text = ""
    if not text or (len(text) > most and not isinstance(value, _PLAIN)):
        return f"an object of type {type(value).__name__}"
    return short(text, most)


class LetterRecError(Exception):
    """A user's mistake, explained in one line."""


class DataError(LetterRecError):
    """The data source cannot be used as it is."""


class SettingsError(LetterRecError):
    """A setting is unknown, has the wrong type, or does not go with another."""


class IdentifierError(LetterRecError):
    """Identifiers cannot be made or do not fit the items."""


class RunError(LetterRecError):
    """A run folder is missing, unfinished, damaged or belongs to other data."""


class RequestError(LetterRecError):
    """A recommendation request cannot be answered as it is."""


class NotFound(RequestError):
    """A request names a user, an item or a domain that the run does not know."""


class Conflict(RequestError):
    """A request would change what must stay as it is."""


class Overloaded(LetterRecError):
    """There are more requests than can be answered in time."""


class MissingExtra(LetterRecError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package {package!r}, which is not installed; "
            f"run: pip install '{_origin()}[{extra}]'"
        )


def _origin() -> str:
    """What pip installs LetterRec from: the folder or the wheel that it did, or its name."""
    try:
        told = distribution("letterrec").read_text("direct_url.json")
    except PackageNotFoundError:
        told = None
    url = urlparse("" if told is None else json.loads(told)["url"])
    return unquote(url.path) if url.scheme == "file" else "letterrec"
