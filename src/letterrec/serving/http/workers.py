"""Several processes that serve the same runs on one port.

The first process loads everything, and is forked: what was loaded is in memory once, whoever reads
it. It answers nothing itself, starts a process anew that ends, and passes signals on. Each process
has a socket of its own on the port; the kernel shares the connections out. Edits reach the others
by the run's file, reloads and rollbacks by `switches`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType

import torch

from letterrec.errors import LetterRecError, RequestError
from letterrec.serving.editing.editor import Editor
from letterrec.serving.http.app import page_files
from letterrec.serving.http.lifecycle import BACKLOG, until_served
from letterrec.serving.http.options import ServerOptions
from letterrec.serving.http.process import Loaded, Loading, Serving, may_change
from letterrec.serving.http.sockets import listen
from letterrec.serving.http.tokens import Tokens
from letterrec.serving.service import opened, preloaded
from letterrec.serving.switches import Switches
from letterrec.serving.telemetry import count_together, event, log, log_to_stderr

_PAUSE = 1.0  # seconds before a process that ended is started anew
_ENDING = 25.0  # seconds that processes have to end, beside the drain


def serve_together(
    runs: Mapping[str, Path], loading: Loading, options: ServerOptions, tokens: Tokens
) -> None:
    """Serve runs with several processes until this one is told to stop.

    Args:
        runs: see `server.serve`.
        loading: see `server.serve`.
        options: see `server.serve`.
        tokens: that clients must bring.
    """
    if not hasattr(os, "fork") or not hasattr(socket, "SO_REUSEPORT"):
        raise RequestError("--workers: this system cannot share a port among processes; use 1")
    if torch.cuda.is_available():
        raise RequestError("--workers: a GPU cannot be shared by processes that are forked; use 1")
    listen(options.host, options.port).close()  # nobody else has it
    first = listen(options.host, options.port, shared=True)
    port = first.getsockname()[1]
    listeners = [first]
    listeners += [listen(options.host, port, shared=True) for _ in range(options.workers - 1)]
    with tempfile.TemporaryDirectory(prefix="letterrec-") as folder:
        count_together(folder)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else it warns in each process
        threads = torch.get_num_threads()
        switches = Switches(list(runs), options.workers, Path(folder) / "lock")
        with until_served():
            log_to_stderr(at_once=True)
            event("loading", run=" ".join(map(str, runs.values())))
            torch.set_num_threads(1)  # threads of this process would be missing in the others
            serving = Serving(
                runs,
                loading,
                options,
                tokens,
                first.getsockname()[0],
                loaded={name: _loaded(loading, runs[name], options, tokens) for name in runs},
                switches=switches,
            )
            page_files()

        def work(worker: int, alive: int, begun: Callable[[], None]) -> None:
            log_to_stderr(worker=worker)
            torch.set_num_threads(max(1, threads // options.workers))
            switches.begin(worker)
            for service in serving.fleet:
                service.engine.refresh()
            serving.run(
                listeners[worker],
                begun,
                is_first=worker == 0,
                gone=partial(_call_at_end, alive),
            )

        for listener in listeners:
            listener.listen(BACKLOG)
        described = serving.describe(first)
        supervisor = _Supervisor(work, options)
        supervisor.start(lambda: event("serving", **described, workers=options.workers))
        supervisor.run()


def _loaded(loading: Loading, run: Path, options: ServerOptions, tokens: Tokens) -> Loaded:
    engine = opened(lambda: loading.to_fork(run.resolve()))
    editor = Editor(engine)
    preloaded(editor if may_change(options, tokens) else None, engine)
    return Loaded(engine, editor)


def _call_at_end(pipe: int, stop: Callable[[], None]) -> None:
    """Call ``stop`` when nobody can write to a pipe any more: the process that could is gone."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(pipe)
        stop()

    loop.add_reader(pipe, ended)


class _Supervisor:
    """Starts the processes, and starts them anew until it is told to stop.

    Args:
        work: what a process does, given its number, a pipe that ends with this process, and what
            it calls when it answers requests.
        options: of the server.
    """

    def __init__(
        self, work: Callable[[int, int, Callable[[], None]], None], options: ServerOptions
    ) -> None:
        self._work, self._options = work, options
        self._alive, self._held = os.pipe()
        self._beginning, self._begun = os.pipe()  # a byte from each process that has begun
        self._workers: dict[int, int] = {}  # by process id
        self._stopping = threading.Event()

    def start(self, begun: Callable[[], None]) -> None:
        """Start all processes, and pass signals on to them from now on.

        Args:
            begun: called, on a thread, when all answer requests.
        """
        for worker in range(self._options.workers):
            self._fork(worker)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, lambda *_: self._pass_on(signal.SIGHUP))

        def wait() -> None:
            there: set[int] = set()
            while len(there) < self._options.workers:
                there |= set(os.read(self._beginning, 64))
            begun()

        threading.Thread(target=wait, name="beginning", daemon=True).start()

    def run(self) -> None:
        """Wait until all have ended after a signal to stop."""
        begun = time.monotonic()
        while self._workers:
            pid, status = os.waitpid(-1, 0)
            worker = self._workers.pop(pid, None)
            if worker is None or self._stopping.is_set():
                continue
            code = os.waitstatus_to_exitcode(status)
            event("a worker ended", logging.ERROR, of=worker, status=code)
            if time.monotonic() - begun < _PAUSE:
                time.sleep(_PAUSE)
            begun = time.monotonic()
            self._fork(worker)
            if self._stopping.is_set():  # the signal came in between
                self._pass_on(signal.SIGTERM)

    def _fork(self, worker: int) -> None:
        pid = os.fork()
        if pid:
            self._workers[pid] = worker
            return
        code = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: os._exit(0))
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            os.close(self._held)
            self._work(worker, self._alive, lambda: self._say_begun(worker))
            code = 0
        except LetterRecError as error:
            event("a worker could not start", logging.ERROR, reason=str(error))
        except Exception:  # logged, and seen by the first process
            log.exception("defect")
        finally:
            logging.shutdown()
            os._exit(code)

    def _say_begun(self, worker: int) -> None:
        os.write(self._begun, bytes([worker]))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._pass_on(signal.SIGTERM if number == signal.SIGTERM else signal.SIGINT)
        if not self._stopping.is_set():
            self._stopping.set()
            timer = threading.Timer(self._options.drain + _ENDING, self._pass_on, [signal.SIGKILL])
            timer.daemon = True
            timer.start()

    def _pass_on(self, number: signal.Signals) -> None:
        for pid in list(self._workers):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
