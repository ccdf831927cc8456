"""`letterrec serve` as its own process, for tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil


class Process:
    """`letterrec serve` as its own process."""

    def __init__(self, run: Path, *options: str, **environment: str) -> None:
        command = [sys.executable, "-m", "letterrec.cli", "serve", str(run), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        assert self.process.stderr is not None
        self.events: list[dict[str, Any]] = []
        said = []
        for line in self.process.stderr:
            said.append(line)
            if line.startswith("{"):
                self.events.append(json.loads(line))
            if self.events and self.events[-1]["event"] == "serving":
                break
        assert [event["event"] for event in self.events[-1:]] == ["serving"], "".join(said)
        address = self.events[-1]["address"]  # before the reader adds further events
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.client = httpx.Client(base_url=address, timeout=60)
        while not self._is_ready():
            time.sleep(0.02)
        times = psutil.Process(self.process.pid).cpu_times()
        self.seconds_to_ready = times.user + times.system  # of work, whatever else runs here

    def _is_ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.events.append(json.loads(line))

    def wait_for(self, event: str) -> dict[str, Any]:
        for _ in range(600):
            for seen in list(self.events):
                if seen["event"] == event:
                    return seen
            time.sleep(0.1)
        raise AssertionError(f"no event {event!r} among {self.events}")

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.ended()

    def ended(self) -> int:
        """Wait until it has ended; its exit code."""
        code = self.process.wait(120)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@contextmanager
def process(run: Path, *options: str, **environment: str) -> Iterator[Process]:
    served = Process(run, *options, **environment)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.end(signal.SIGKILL)
        served.client.close()
