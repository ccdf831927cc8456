"""What the commands share: the console, arguments that several of them take, and JSON on stdout."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from letterrec.errors import RequestError
from letterrec.progress import Terminal, visible

out = Terminal()

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="folder made by `fit`")]
RecipeOption = Annotated[
    str | None, typer.Option(metavar="NAME|FILE.toml", help="settings to start from")
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="work on a Ray cluster: HOST:PORT of its head, `auto`, or `local` for one that is "
        "started here",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="with --ray: processes at work; default: one for every GPU of the cluster, or else "
        "for every CPU (for training, every machine)",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object instead of a table")]


def print_json(value: object) -> None:
    """Print a value as one line of JSON; non-ASCII letters as they are where stdout can have them.

    >>> print_json({"title": "Amélie"})
    {"title": "Amélie"}
    """
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value)
    print(text)


@contextmanager
def on_ray(address: str | None, workers: int | None, beside: Path) -> Iterator[None]:
    """Inside the block a Ray cluster does what divides into parts, where an address is given.

    Args:
        address: as `cluster.connection.connected` takes it; None: no cluster.
        workers: processes at work.
        beside: what is made; files of parts are in a folder beside it, which all machines see.

    Raises:
        RequestError: there is no cluster, or workers are given without one.
    """
    if address is None:
        if workers is not None:
            raise RequestError("--workers goes with --ray ADDRESS")
        yield
        return
    from letterrec.cluster.connection import connected

    with connected(address, beside.with_name(f"{beside.name}.work"), workers):
        yield


def note(message: str) -> None:
    """Print a message on stderr, on one line."""
    print(f"letterrec: {visible(' '.join(message.split()))}", file=sys.stderr)


def command_name() -> str:
    """What a user types in this shell to run this program: ``letterrec``, if that is found."""
    if shutil.which("letterrec"):
        return "letterrec"
    called = Path(sys.argv[0])
    if called.name == "letterrec" and os.access(called, os.X_OK):
        return shlex.quote(str(called))
    return f"{shlex.quote(sys.executable)} -m letterrec"


def words(text: str) -> list[str]:
    """The words of a list with commas.

    >>> words("mrr, hit_rate,")
    ['mrr', 'hit_rate']
    """
    return [word.strip() for word in text.split(",") if word.strip()]


def attributes(texts: list[str] | None, option: str) -> dict[str, list[str]] | None:
    """``NAME=VALUE`` of each text, the values of one name together; None where there are none.

    Raises:
        RequestError: a text is of another form.

    >>> attributes(["brand=Fender", "brand=Gibson", "size=a=b"], "--where")
    {'brand': ['Fender', 'Gibson'], 'size': ['a=b']}
    """
    found: dict[str, list[str]] = {}
    for text in texts or ():
        name, _, value = (part.strip() for part in text.partition("="))
        if not name or not value:
            raise RequestError(f"{option} {text}: expected NAME=VALUE, as in category=Guitars")
        found.setdefault(name, []).append(value)
    return found or None


def whole_numbers(text: str, option: str) -> list[int]:
    """The numbers of a list with commas.

    Raises:
        RequestError: one is none.
    """
    try:
        return [int(word) for word in words(text)]
    except ValueError:
        raise RequestError(f"{option} {text}: expected whole numbers, as in 20,50") from None
