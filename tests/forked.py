"""`letterrec` as a process that is ready at once: the fork of one that has imported everything.

For tests that start many of them, to kill them or to have them work together. Each is a process of
its own, with signals and an exit code; it is spared what ``python -m letterrec`` first imports.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Literal

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "letterrec.cli.app",
        "letterrec.pipeline",
        # what a fit imports on its way
        "k_means_constrained",
        "tensorboard",
        "torch._dynamo",
    ]
)
Kept = Literal["steps", "epochs"]


def letterrec(
    *arguments: str | Path, log: Path, keeps: Kept | None = None, **environment: str
) -> ForkServerProcess:
    """Start ``letterrec ARGUMENTS``.

    Args:
        arguments: of the command.
        log: the file that gets what it prints, and nothing else.
        keeps: after each of what a training leaves a checkpoint, its steps being slow enough to be
            killed between two; None: when it usually does.
        environment: variables beside those of this process.
    """
    log.write_text("")
    words = [str(argument) for argument in arguments]
    variables = dict(os.environ) | environment
    process = _CONTEXT.Process(target=_run, args=(words, log, keeps, variables))
    process.start()
    return process


def two(*arguments: str | Path, log: Path, keeps: Kept | None = None) -> list[ForkServerProcess]:
    """Start ``letterrec ARGUMENTS`` as two processes that work together, as ``torchrun`` would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"TORCHELASTIC_RUN_ID": "two", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return [
        letterrec(
            *arguments,
            log=log.with_name(f"{log.stem}-{rank}{log.suffix}"),
            keeps=keeps,
            **shared,
            RANK=rank,
            LOCAL_RANK=rank,
        )
        for rank in "01"
    ]


def _run(words: list[str], log: Path, keeps: Kept | None, variables: dict[str, str]) -> None:
    from letterrec.cli import app as cli

    os.environ.update(variables)
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if keeps:
        _keep(keeps)
    sys.argv = ["letterrec", *words]
    cli.main()


def _keep(what: Kept) -> None:
    from letterrec.training import checkpoints, steps

    share = steps._share

    def slow_share(rows: Any) -> Any:
        time.sleep(0.02)
        return share(rows)

    steps._share = slow_share
    if what == "steps":
        checkpoints.WITHIN_EPOCH = 0.0
    else:
        checkpoints.AFTER_EPOCH = 0.0
