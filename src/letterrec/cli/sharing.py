"""The commands that publish a run, and that remove users from it: push, forget."""

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


def forget(
    run: RunArgument,
    user: Annotated[
        list[str], typer.Option("--user", metavar="ID", help="who is forgotten; repeatable")
    ],
) -> None:
    """Take a user out of all files of a run.

    His interactions and preference leave the data, his rank those behind the metrics, and a
    baseline loses the vector that it learned of him. What was averaged over everybody stays: the
    weights of networks, embeddings, transitions and metrics. `letterrec refit RUN` then learns the
    recommender anew without him. Of several users all are forgotten, or none where one is not there.

    A running server forgets him when it is told to reload. Not reached: the log that the run was
    made from, runs that were refitted or pushed from this one, and files of recommendations.

    Example:

        letterrec forget runs/first --user 42
    """
    from letterrec import api

    left = api.forget(run, user).about["stages"]["read"]["users"]
    who = f"user{'s' if len(user) > 1 else ''} {', '.join(user)}"
    out.print(f"{run} has forgotten {who}; {left} users are left", soft_wrap=True)
