"""The process that serves runs: sockets and signals.

It reloads, and reads the tokens again, on SIGHUP, and stops on SIGTERM and SIGINT: requests in
progress are still answered.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI

from letterrec.errors import LetterRecError, RequestError
from letterrec.progress import say
from letterrec.runs.run import Run
from letterrec.serving.catalogue.editor import Editor
from letterrec.serving.engine import Engine
from letterrec.serving.fleet import Fleet
from letterrec.serving.http.admission import known_hosts
from letterrec.serving.http.app import create_app
from letterrec.serving.http.connections import BoundedHttpProtocol
from letterrec.serving.http.options import ServerOptions
from letterrec.serving.http.sockets import address_of, is_loopback, listen
from letterrec.serving.http.telemetry import ServerMetrics, event, log_to_stderr
from letterrec.serving.http.tokens import Tokens, TokenSource
from letterrec.serving.service import Service
from letterrec.serving.switches import Switches

_STOPPING = 20  # seconds in which the server stops
_ENDING = 15  # seconds of these that requests have to end
BACKLOG = 2048  # connections that wait to be accepted
_CONNECTIONS = 1000  # at once
_SWITCH = 0.0001  # seconds
_M_ARENA_MAX = -8  # of mallopt, in malloc.h


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


def serve(runs: Mapping[str, Path], loading: Loading, options: ServerOptions) -> None:
    """Serve runs until the process is told to stop.

    Args:
        runs: folders of finished runs, by name; the first one answers where nothing else is said.
        loading: loads a run, at the start and at every reload.
        options: how.

    Raises:
        MissingExtra: a package of the extra ``serve`` is not installed.
        RunError: a run cannot be served, or the address is not to be had.
    """
    from letterrec.serving.http.workers import serve_together

    for folder in runs.values():
        Run.open(folder)
    _share_arenas()
    tokens = Tokens.read_from(
        TokenSource(options.token_file, "LETTERREC_TOKEN"),
        TokenSource(options.read_token_file, "LETTERREC_READ_TOKEN"),
    )
    if options.workers > 1:
        serve_together(runs, loading, options, tokens)
        return
    listener = listen(options.host, options.port)
    with until_served():
        say(f"loading {' '.join(map(str, runs.values()))} ...")
        serving = Serving(runs, loading, options, tokens, listener.getsockname()[0])
    log_to_stderr()
    serving.run(listener, serving.describe(listener))


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
        described: Mapping[str, object] | None,
        *,
        is_first: bool = True,
        gone: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """Answer requests until the process is told to stop.

        Args:
            listener: bound, and perhaps listening.
            described: to log when clients can connect; None logs nothing.
            is_first: whether SIGHUP reloads the runs; it reads the tokens again in any case.
            gone: called in the event loop with what stops the server.
        """
        if (
            self.options.workers == 1 and "OMP_NUM_THREADS" not in os.environ
        ):  # requests need a core beside the search
            torch.set_num_threads(max(1, torch.get_num_threads() - 1))
        server = _Server(uvicorn_config(self.app), self.app, self.options.drain)

        async def run_server() -> None:
            loop = asyncio.get_running_loop()
            if hasattr(signal, "SIGHUP"):
                tasks: set[asyncio.Task[None]] = set()

                def reload() -> None:
                    self._read_tokens()
                    if is_first:
                        task = loop.create_task(_reload(self.fleet))
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
        listener.listen(BACKLOG)  # clients can connect once the log says so
        if described is not None:
            event("serving", **described)
        threading.Thread(target=_end_in_time, args=(server,), daemon=True).start()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(run_server())

    def _read_tokens(self) -> None:
        try:
            self.tokens.reload()
        except RequestError as error:
            event("tokens refused", reason=str(error))
        else:
            event("tokens read")


class _Server(uvicorn.Server):
    """uvicorn's server, which waits between SIGTERM and its end, not ready but answering, so that
    a balancer sees it and sends nothing any more.

    Args:
        config: of uvicorn.
        app: whose ``state.ready`` is what `/readyz` tells.
        drain: seconds to wait; a second signal ends the wait.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain: float) -> None:
        super().__init__(config)
        self._app, self._drain = app, drain
        self._draining = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came."""
        if sig != signal.SIGTERM or self._draining:
            super().handle_exit(sig, frame)
        else:
            self._captured_signals.append(sig)
            self.stop()

    def stop(self) -> None:
        """Stop after the wait."""
        if not self._drain:
            self.should_exit = True
        elif not self._draining:
            self._draining = True
            self._app.state.ready = False
            event("draining", seconds=self._drain)
            threading.Timer(self._drain, self._exit).start()

    def _exit(self) -> None:
        self.should_exit = True


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


def _share_arenas() -> None:
    """Let all threads allocate from two arenas where the C library is glibc.

    glibc gives each thread an arena of its own, which keeps the memory of the largest response that
    the thread ever made: twice what a busy server needs. ``MALLOC_ARENA_MAX`` in the environment
    decides otherwise.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


@contextmanager
def until_served() -> Iterator[None]:
    """Until the server sets its own signal handlers, SIGTERM and SIGINT end the process and SIGHUP
    is ignored.
    """
    handlers: dict[int, Any] = dict.fromkeys(
        (signal.SIGTERM, signal.SIGINT), lambda *_: os._exit(0)
    )
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = signal.SIG_IGN
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    except BaseException:
        for number, handler in before.items():
            signal.signal(number, handler)
        raise


def uvicorn_config(app: Any) -> uvicorn.Config:
    """uvicorn's configuration, with limits on connections, request heads and shutdown."""
    return uvicorn.Config(
        app,
        http=BoundedHttpProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_ENDING,
        timeout_keep_alive=65,
        backlog=BACKLOG,
        server_header=False,
    )


def _end_in_time(server: uvicorn.Server) -> None:
    """End the process if it does not stop in time.

    A running search or encoder cannot be interrupted, and need not be: files are whole or absent
    whenever a process ends.
    """
    while not server.should_exit:
        time.sleep(0.1)
    time.sleep(_STOPPING)
    event("ended without waiting any longer", seconds=_STOPPING)
    logging.shutdown()  # which writes it
    os._exit(0)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop, which costs less per request, where there is one."""
    try:
        import uvloop
    except ModuleNotFoundError:  # not made for Windows
        return None
    return uvloop.new_event_loop


async def _reload(fleet: Fleet) -> None:
    with suppress(LetterRecError):  # logged by the service, which goes on with what it has
        await fleet.reload(None)
