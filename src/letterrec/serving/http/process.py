"""Runs in service in one process: what is loaded, who may change it, what signals do to it.

On SIGHUP it reads the tokens again and reloads, but for a run that was rolled back. It stops on
SIGTERM and SIGINT: requests in progress are still answered.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from letterrec.errors import LetterRecError, RequestError
from letterrec.runs.run import Run
from letterrec.serving.editing.editor import Editor
from letterrec.serving.engine import Engine
from letterrec.serving.fleet import Fleet
from letterrec.serving.http.admission import known_hosts
from letterrec.serving.http.app import create_app
from letterrec.serving.http.lifecycle import (
    BACKLOG,
    DrainingServer,
    end_in_time,
    loop_factory,
    uvicorn_config,
)
from letterrec.serving.http.options import ServerOptions
from letterrec.serving.http.sockets import address_of, is_loopback
from letterrec.serving.http.tokens import Tokens
from letterrec.serving.service import Service
from letterrec.serving.switches import Switches
from letterrec.serving.telemetry import ServerMetrics, event

_SWITCH = 0.0001  # seconds


@dataclass(frozen=True)
class Loading:
    """How a run is loaded.

    Attributes:
        now: from its folder, with its edits.
        to_fork: the same without edits, and so that the process can be forked after it.
    """

    now: Callable[[Path], Engine]
    to_fork: Callable[[Path], Engine]


@dataclass(frozen=True)
class Loaded:
    """What answers first, and what edits its catalogue."""

    engine: Engine
    editor: Editor


class Serving:
    """Runs in service in this process.

    Args:
        runs: see `serve`.
        loading: see `serve`.
        options: see `serve`.
        tokens: that clients must bring.
        bound: the address that the server listens on.
        loaded: what answers first, by name; None loads it.
        switches: tells other processes of reloads.
    """

    def __init__(
        self,
        runs: Mapping[str, Path],
        loading: Loading,
        options: ServerOptions,
        tokens: Tokens,
        bound: str,
        *,
        loaded: Mapping[str, Loaded] | None = None,
        switches: Switches | None = None,
    ) -> None:
        self.options, self.tokens = options, tokens
        self.may_change = may_change(options, tokens)
        self._runs = runs
        metrics = ServerMetrics()
        services = {}
        for name, run in runs.items():
            there = None if loaded is None else loaded[name]
            services[name] = Service(
                partial(_load, loading.now, run.absolute()),
                name=name,
                engine=None if there is None else there.engine,
                editor=None if there is None else there.editor,
                metrics=metrics,
                queue=options.queue,
                max_batch=options.max_batch,
                preload=self.may_change,
            )
        self.fleet = Fleet(services, options.split, switches)
        self.app = create_app(
            self.fleet,
            tokens=tokens,
            may_change=self.may_change,
            body_limit=options.body_limit,
            deadline=options.deadline,
            hosts=known_hosts(options.host, bound, options.allowed_hosts, tokens.asked_for),
            origins=options.origins,
            root_path=options.root_path,
        )

    def describe(self, listener: socket.socket) -> dict[str, object]:
        """What the log says when the server begins."""
        return {
            "address": address_of(listener),
            "run": " ".join(map(str, self._runs.values())),
            "items": self.fleet.default.engine.catalogue.n_items,
            "token": self.tokens.asked_for,
            "may_change": self.may_change,
        }

    def run(
        self,
        listener: socket.socket,
        begun: Callable[[], None],
        *,
        is_first: bool = True,
        gone: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """Answer requests until the process is told to stop.

        Args:
            listener: bound, and perhaps listening.
            begun: called in the event loop when requests are answered.
            is_first: whether SIGHUP reloads the runs; it reads the tokens again in any case.
            gone: called in the event loop with what stops the server.
        """
        if (
            self.options.workers == 1 and "OMP_NUM_THREADS" not in os.environ
        ):  # requests need a core beside the search
            torch.set_num_threads(max(1, torch.get_num_threads() - 1))
        server = DrainingServer(uvicorn_config(self.app), self.app, self.options.drain, begun)

        async def run_server() -> None:
            loop = asyncio.get_running_loop()
            if hasattr(signal, "SIGHUP"):
                tasks: set[asyncio.Task[None]] = set()

                def reload() -> None:
                    self._read_tokens()
                    if is_first:
                        task = loop.create_task(_reload(self.fleet, self._runs))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)

                loop.add_signal_handler(signal.SIGHUP, reload)
            if gone is not None:
                gone(server.stop)
            await server.serve(sockets=[listener])

        # The search releases the interpreter at every tensor operation; while requests keep the
        # event loop busy it would get it back only after the default 5 ms, a hundred times per
        # search.
        sys.setswitchinterval(_SWITCH)

        def stop(signum: int, frame: object) -> None:
            server.should_exit = True

        # For signals before uvicorn sets its own handlers. When it has stopped it raises the
        # signals that it caught once more: with these handlers the process then still exits with 0.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        listener.listen(BACKLOG)
        threading.Thread(target=end_in_time, args=(server,), daemon=True).start()
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(run_server())

    def _read_tokens(self) -> None:
        try:
            self.tokens.reload()
        except RequestError as error:
            event("tokens refused", logging.ERROR, reason=str(error))
        else:
            event("tokens read")


def may_change(options: ServerOptions, tokens: Tokens) -> bool:
    """Whether requests may change anything: with a token that lets them, or, where there are no
    tokens, from this machine.
    """
    if options.read_only:
        return False
    return tokens.let_change if tokens.asked_for else is_loopback(options.host)


def _load(load: Callable[[Path], Engine], folder: Path) -> Engine:
    """Open the run that a folder, or a link to one, is now; edits go there even if the link then
    points elsewhere.
    """
    return load(folder.resolve())


async def _reload(fleet: Fleet, runs: Mapping[str, Path]) -> None:
    """Reload all runs, but those that a rollback left and that are still in their folders."""
    for name, folder in runs.items():
        left = fleet.named(name).left
        with suppress(LetterRecError):  # logged by the service, which goes on with what it has
            if left is not None and await asyncio.to_thread(_id_in, folder) == left:
                event("not reloaded", model=name, run=left, reason="it was rolled back")
            else:
                await fleet.reload(name)


def _id_in(folder: Path) -> str | None:
    """The id of the run in a folder; None where there is none."""
    try:
        return Run.open(folder).id
    except LetterRecError:
        return None
