"""What reaches a person's terminal: every text as it is, and no text that steers the terminal.

Titles, ids, paths and messages come from elsewhere. None of them is read as markup, and characters
that would break a line or act on the terminal are shown as escapes. Leaves what is printed to
`report`, `studies` and the commands.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
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
