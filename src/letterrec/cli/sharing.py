"""The command that gives a run away: push."""

from __future__ import annotations

from typing import Annotated

import typer

from letterrec.cli.common import RunArgument, out


def push(
    run: RunArgument,
    name: Annotated[str, typer.Argument(metavar="USER/NAME", help="of the repository")],
    public: Annotated[
        bool, typer.Option("--public", help="let everyone see it, the users' histories included")
    ] = False,
    message: Annotated[
        str | None, typer.Option(metavar="TEXT", help="of the commit; default: what it is")
    ] = None,
) -> None:
    """Put a run on the Hugging Face Hub, with a model card of its metrics and settings.

    The repository is made if it is not there, private unless `--public` is given: a run holds the
    histories of its users. `letterrec.load("USER/NAME")`, and `recommend` and `serve` in place of a
    folder, take it from there. The token is that of `huggingface-cli login`, or HF_TOKEN.

    Example:

        letterrec push runs/first me/beauty-letter
    """
    from letterrec import api

    out.print(f"pushed: {api.push(run, name, public=public, message=message)}", soft_wrap=True)
