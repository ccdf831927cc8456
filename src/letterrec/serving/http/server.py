"""The process that serves a run: sockets, signals, the token.

It reloads on SIGHUP and stops on SIGTERM and SIGINT: requests in progress are still answered.
"""

from __future__ import annotations

import asyncio
import ctypes
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from letterrec.errors import LetterRecError, MissingExtra, RequestError, RunError
from letterrec.progress import say

if TYPE_CHECKING:
    import uvicorn

    from letterrec.serving.engine import Engine

_STOPPING = 20  # seconds in which the server stops
_ENDING = 15  # seconds of these that requests have to end
_BACKLOG = 2048  # connections that wait to be accepted
_CONNECTIONS = 1000  # at once
_SHORTEST_TOKEN = 16
_SWITCH = 0.0001  # seconds
_M_ARENA_MAX = -8  # of mallopt, in malloc.h


def serve(
    run: Path,
    load: Callable[[Path], Engine],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: Path | None = None,
    queue: int = 256,
    max_batch: int = 64,
    deadline: float = 2.0,
    body_limit: int = 1_000_000,
    read_only: bool = False,
    allowed_hosts: Sequence[str] = (),
) -> None:
    """Serve a run until the process is told to stop.

    Args:
        run: folder of a finished run.
        load: loads the run, at the start and at every reload.
        host: address to listen on.
        port: to listen on; 0 takes a free one, which the first log line names.
        token_file: file with the token that clients must bring; None takes the environment
            variable ``LETTERREC_TOKEN``, and without that lets everyone in.
        queue: queries that may wait before the server answers 503.
        max_batch: queries answered by one search.
        deadline: seconds in which a request is answered, with a 503 if it must be; edits and
            reloads have a minute.
        body_limit: bytes of a request's body.
        read_only: take no new items and no other changes over HTTP, and load no encoder for them.
            A server without a token that listens on more than this machine takes none either.
        allowed_hosts: names by which clients may call the server, beside the address that it
            listens on.

    Raises:
        MissingExtra: a package of the extra ``serve`` is not installed.
        RunError: the run cannot be served, or the address is not to be had.
    """
    import torch

    try:
        import fastapi  # noqa: F401
        import plotly  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "fastapi", "serve") from None
    from letterrec.serving.http.admission import known_hosts
    from letterrec.serving.http.app import create_app
    from letterrec.serving.http.telemetry import event, log_to_stderr
    from letterrec.serving.service import Service

    _share_arenas()
    token = read_token(token_file)
    listener = _listen(host, port)
    may_change = not read_only and (token is not None or _is_loopback(host))
    folder = run.absolute()  # to keep it out of answers; a link stays a link, for reloads
    with _loading():
        say(f"loading {run} ...")
        service = Service(
            lambda: load(folder), queue=queue, max_batch=max_batch, preload=may_change
        )
    bound = listener.getsockname()
    hosts = known_hosts(host, bound[0], allowed_hosts, token is not None)
    app = create_app(
        service,
        token=token,
        may_change=may_change,
        body_limit=body_limit,
        deadline=deadline,
        hosts=hosts,
    )
    log_to_stderr()
    if "OMP_NUM_THREADS" not in os.environ:  # requests need a core beside the search
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))
    server = uvicorn.Server(uvicorn_config(app))

    async def run_server() -> None:
        loop = asyncio.get_running_loop()
        if hasattr(signal, "SIGHUP"):
            tasks: set[asyncio.Task[None]] = set()

            def reload() -> None:
                task = loop.create_task(_reload(service))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

            loop.add_signal_handler(signal.SIGHUP, reload)
        await server.serve(sockets=[listener])

    # The search releases the interpreter at every tensor operation; while requests keep the event
    # loop busy it would get it back only after the default 5 ms, a hundred times per search.
    sys.setswitchinterval(_SWITCH)

    def stop(signum: int, frame: object) -> None:
        server.should_exit = True

    # For signals before uvicorn sets its own handlers. When it has stopped it raises the signals
    # that it caught once more: with these handlers the process then still exits with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    listener.listen(_BACKLOG)  # clients can connect once the log says so
    address = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    event(
        "serving",
        address=f"http://{address}:{bound[1]}",
        run=str(run),
        items=service.engine.catalogue.n_items,
        token=token is not None,
        may_change=may_change,
    )
    threading.Thread(target=_end_in_time, args=(server,), daemon=True).start()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(run_server())


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
def _loading() -> Iterator[None]:
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
    import uvicorn

    from letterrec.serving.http.connections import BoundedHttpProtocol

    return uvicorn.Config(
        app,
        http=BoundedHttpProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_ENDING,
        timeout_keep_alive=65,
        backlog=_BACKLOG,
        server_header=False,
    )


def _end_in_time(server: uvicorn.Server) -> None:
    """End the process if it does not stop in time.

    A running search or encoder cannot be interrupted, and need not be: files are whole or absent
    whenever a process ends.
    """
    from letterrec.serving.http.telemetry import event

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


async def _reload(service: object) -> None:
    from letterrec.serving.service import Service

    assert isinstance(service, Service)
    try:
        await service.reload()
    except LetterRecError:
        return  # the service has logged it, and goes on with what it has


def read_token(path: Path | None) -> str | None:
    """The token from a file, else from the environment; never from the command line, which
    others on the machine can read.

    Raises:
        RequestError: it is missing where it should be, or too short to keep anyone out.
    """
    if path is None:
        token = os.environ.get("LETTERREC_TOKEN")
        where = "LETTERREC_TOKEN"
        if token is None:
            return None
    else:
        where = str(path)
        try:
            token = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(
                f"{where} cannot be read as the token's file ({error}); "
                "write the token into it, alone on its line"
            ) from None
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise RequestError(
            f"{where} holds a token of {len(token)} characters; expected at least "
            f"{_SHORTEST_TOKEN} printable ASCII ones, as from: openssl rand -hex 32"
        )
    return token


def _listen(host: str, port: int) -> socket.socket:
    """Open the socket before the run is loaded, so that a port in use is reported at once."""
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit this: without it a body waits 40 ms for its headers' acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise RunError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); choose another --port, "
            "or a --host that this machine has"
        ) from None
    return listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
