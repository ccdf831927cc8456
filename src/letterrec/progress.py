"""What reaches a person's terminal: texts, tables, JSON, and the progress of anything that takes
more than a few seconds.

Titles, ids, paths and messages come from elsewhere: none of them is read as markup, and characters
that would break a line or act on the terminal are shown as escapes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

# Control characters (with escape and newline), line and paragraph separators, halves of a
# surrogate pair, and the marks that turn the direction of the text that follows.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_WIDE = 10_000  # columns where nobody's terminal ends the line: a pipe or a file


def visible(text: str) -> str:
    r"""A text on one line, with the characters that act on a terminal shown as escapes.

    >>> print(visible("Blu-ray [Import]"), visible("two\nlines"), visible("\x1b[31mred"))
    Blu-ray [Import] two\nlines \x1b[31mred
    """
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Terminal(Console):
    """A console that prints every string as it is, on one line, in tables too.

    Nothing is cut to 80 columns where the output is no terminal but a pipe or a file.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        stream = sys.stderr if stderr else sys.stdout
        if "file" not in options and not stream.isatty() and "COLUMNS" not in os.environ:
            options.setdefault("width", _WIDE)
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as rich shows it; rich calls this for whatever is printed as a string."""
        return super().render_str(visible(text), **options)


def table(*head: str, whole: tuple[str, ...] = ()) -> Table:
    """An empty table without lines; cells are plain strings.

    Args:
        head: names of the columns.
        whole: of these, the ones that are broken last where the terminal is narrow. No column
            is ever cut.
    """
    made = Table(box=None)
    for name in head:
        made.add_column(name, no_wrap=name in whole, overflow="fold")
    return made


def print_json(value: Any) -> None:
    """Print one JSON value on a line of stdout, letters beyond ASCII as they are where they can be.

    >>> print_json({"title": "Amélie"})
    {"title": "Amélie"}
    """
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value)
    print(text)


def command_name() -> str:
    """What a user types in this shell to get this program: ``letterrec``, where that is found."""
    if shutil.which("letterrec"):
        return "letterrec"
    called = Path(sys.argv[0])
    if called.name == "letterrec" and os.access(called, os.X_OK):
        return shlex.quote(str(called))
    return f"{shlex.quote(sys.executable)} -m letterrec"


def hide_types_of_flags(command: Any) -> None:
    """Let ``--help`` show a flag without a type: typer would write ``<bool>`` behind it.

    Args:
        command: what `typer.main.get_command` gives; all commands below it are changed too.
    """
    for parameter in command.get_params(typer.Context(command)):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    for below in getattr(command, "commands", {}).values():
        hide_types_of_flags(below)


console = Terminal(stderr=True)
_LINE_EVERY = 10.0  # seconds between plain lines where there is no terminal


def say(line: str) -> None:
    """One line to the user, on stderr."""
    console.print(line, soft_wrap=True)


class Counter:
    """Advances one bar, or prints a line every few seconds."""

    def __init__(self, label: str, total: int, bar: Progress | None) -> None:
        self._label, self._total, self._bar = label, total, bar
        self._done = 0
        self._note = ""
        self._last = time.monotonic()
        self._task = bar.add_task(visible(label), total=total, note="") if bar else None

    def advance(self, n: int = 1, note: str | None = None) -> None:
        """Count ``n`` more; ``note`` replaces the text behind the bar."""
        self._done += n
        self._note = self._note if note is None else note
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=n, note=visible(self._note))
        elif time.monotonic() - self._last > _LINE_EVERY:
            self._last = time.monotonic()
            say(f"  {self._label}: {self._done}/{self._total} {self._note}".rstrip())


@contextmanager
def counting(label: str, total: int) -> Iterator[Counter]:
    """Show the progress of ``total`` units of work for as long as the block runs."""
    if not sys.stderr.isatty():
        yield Counter(label, total, None)
        return
    bar = Progress(
        TextColumn("  {task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
    )
    with bar:
        yield Counter(label, total, bar)
