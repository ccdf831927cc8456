"""Progress of anything longer than a few seconds: a bar on a terminal, plain lines elsewhere.

Knows how to show it, on stderr; leaves what is counted to the caller.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from letterrec.terminal import Terminal, visible

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
