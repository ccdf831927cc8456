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


def one_line(value: object) -> str:
    """A value as a message has it: on one short line.

    >>> one_line({"training": 5}), one_line(list(range(100)))
    ("{'training': 5}", 'an object of type list')
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"an object of type {type(value).__name__}"


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
