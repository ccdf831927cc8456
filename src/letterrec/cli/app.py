"""The root of the command line: its commands in the order of ``--help``, its errors and exit codes.

Commands parse, call and print; what they do lives in the modules that they import when they are
called, so that ``--help`` waits for none of them.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
from typing import Annotated, Any, NoReturn

# Idle threads should sleep, not spin: on shared cores spinning costs a multiple of the work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import typer

import letterrec
from letterrec.cli import fitting, recommending, reviewing, serving, sharing, studies
from letterrec.errors import LetterRecError
from letterrec.progress import shown, visible

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Generative recommendation with learnable item tokenization (LETTER, CIKM'24).\n\n"
    "Start with `letterrec quickstart`; then `letterrec fit SOURCE --out RUN` on your own data.",
)
for command in (
    fitting.quickstart,
    fitting.fit,
    fitting.align,
    fitting.refit,
    reviewing.evaluate,
    reviewing.compare,
    recommending.recommend,
    serving.serve,
    reviewing.report,
    reviewing.export,
    sharing.push,
    sharing.forget,
    serving.add_items,
    serving.edit_items,
    reviewing.inspect,
    fitting.recipes,
    fitting.settings,
    studies.reproduce,
    studies.sweep,
):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"letterrec {letterrec.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="print the version"),
    ] = False,
) -> None:
    """What goes before a command."""


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal's encoding lacks
    command = typer.main.get_command(app)
    _hide_types_of_flags(command)
    usage_error: Any = typer.BadParameter.__bases__[0]  # of the click that typer carries
    try:
        with shown():
            code = command(standalone_mode=False)
        sys.stdout.flush()
    except LetterRecError as error:
        _fail(str(error))
    except usage_error as error:
        message = error.format_message().replace("Value error, ", "")  # pydantic's words
        if not message or len(sys.argv) == 1:  # no command: the help was asked for
            command(["--help"], standalone_mode=False)
            sys.exit(2)
        within = error.ctx is not None and error.ctx.parent is not None
        name = f" {error.ctx.info_name}" if within else ""  # of the command that was asked for
        _fail(f"{message} Given: {shlex.join(sys.argv[1:])}. Try: letterrec{name} --help")
    except (KeyboardInterrupt, typer.Abort):
        print(
            "letterrec: interrupted; go on with the same command (fit, sweep: and --resume)",
            file=sys.stderr,
        )
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)  # as typer and rich do where they notice
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> NoReturn:
    line = re.sub(r"\s*\n\s*", " ", message.strip())
    print(f"letterrec: {visible(line)}", file=sys.stderr)
    sys.exit(2)


def _hide_types_of_flags(command: Any) -> None:
    """Let ``--help`` show a flag without a type: typer would write ``<bool>`` behind it.

    Args:
        command: what `typer.main.get_command` gives; all commands below it are changed too.
    """
    for parameter in command.get_params(typer.Context(command)):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    for below in getattr(command, "commands", {}).values():
        _hide_types_of_flags(below)


if __name__ == "__main__":
    main()
