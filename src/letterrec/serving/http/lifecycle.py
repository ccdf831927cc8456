"""The life of a process that serves, from its signals before the start to its end in time."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from letterrec.serving.http.connections import BoundedHttpProtocol
from letterrec.serving.telemetry import event

_STOPPING = 20  # seconds in which the server stops
_ENDING = 15  # seconds of these that requests have to end
BACKLOG = 2048  # connections that wait to be accepted
_CONNECTIONS = 1000  # at once


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


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which waits between SIGTERM and its end, not ready but answering, so that
    a balancer sees it and sends nothing any more.

    Args:
        config: of uvicorn.
        app: whose ``state.ready`` is what `/readyz` tells.
        drain: seconds to wait; a second signal ends the wait.
        begun: called when requests are answered.
    """

    def __init__(
        self, config: uvicorn.Config, app: FastAPI, drain: float, begun: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._app, self._drain, self._begun = app, drain, begun
        self._draining = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self.started:
            self._begun()

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


def end_in_time(server: uvicorn.Server) -> None:
    """End the process if it does not stop in time.

    A running search or encoder cannot be interrupted, and need not be: files are whole or absent
    whenever a process ends.
    """
    while not server.should_exit:
        time.sleep(0.1)
    time.sleep(_STOPPING)
    event("ended without waiting any longer", logging.WARNING, seconds=_STOPPING)
    logging.shutdown()  # which writes it
    os._exit(0)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop, which costs less per request, where there is one."""
    try:
        import uvloop
    except ModuleNotFoundError:  # not made for Windows
        return None
    return uvloop.new_event_loop
