"""What reaches a person's terminal: progress, notes and tables, safe to print whatever is in them.

The library reports through `say` and `counting`. Both write to the logger ``letterrec``; inside
`shown`, which the command line and ``fit(..., progress=True)`` enter, they also appear on stderr:
`counting` as a bar where stderr is a terminal, as a line every ten seconds elsewhere.

Titles, ids, paths and messages come from elsewhere. None of them is read as markup, and characters
that would break a line or control the terminal are shown as escapes.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress

# Control characters (with escape and newline), line and paragraph separators, halves of a
# surrogate pair, and the marks that turn the direction of the text that follows.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_UNLIMITED = 10_000  # columns of a pipe or a file, where no terminal ends the line
_LINE_EVERY = 10.0  # seconds between the lines that stand in for a bar

_log = logging.getLogger("letterrec")


def visible(text: str) -> str:
    r"""A text on one line, with the characters that control a terminal shown as escapes.

    >>> print(visible("Blu-ray [Import]"), visible("two\nlines"), visible("\x1b[31mred"))
    Blu-ray [Import] two\nlines \x1b[31mred
    """
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Terminal(Console):
    """A console that prints every string as it is, on one line, in tables too.

    Nothing is cut to 80 columns where the output goes to a pipe or a file.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        stream = sys.stderr if stderr else sys.stdout
        if "file" not in options and not stream.isatty() and "COLUMNS" not in os.environ:
            options.setdefault("width", _UNLIMITED)
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as rich shows it; rich calls this for whatever is printed as a string."""
        return super().render_str(visible(text), **options)


def table(*head: str, whole: tuple[str, ...] = ()) -> Table:
    """An empty table without lines; cells are plain strings.

    Args:
        head: names of the columns.
        whole: those of the columns that are wrapped last where the terminal is narrow. No column
            is ever cut.
    """
    made = Table(box=None)
    for name in head:
        made.add_column(name, no_wrap=name in whole, overflow="fold")
    return made


console = Terminal(stderr=True)
_is_shown = ContextVar("is_shown", default=False)


@contextmanager
def shown(wanted: bool = True) -> Iterator[None]:
    """Inside the block, show on stderr what this thread reports with `say` and `counting`.

    Args:
        wanted: False shows nothing, also where a block around this one does.
    """
    token = _is_shown.set(wanted)
    try:
        yield
    finally:
        _is_shown.reset(token)


def say(line: str) -> None:
    """Report one line: what is being done, or a note on the data."""
    _log.info("%s", visible(line.strip()))
    if _is_shown.get():
        console.print(line, soft_wrap=True)


class Counter:
    """Advances one bar, or reports a line every few seconds where there is none."""

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
    """Report the progress of ``total`` units of work for as long as the block runs."""
    if not (_is_shown.get() and sys.stderr.isatty()):
        yield Counter(label, total, None)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

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
