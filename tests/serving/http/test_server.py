"""`letterrec serve` as an operator starts and stops it: signals, logs, several processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from letterrec import api
from letterrec.runs.run import Run
from letterrec.serving.editing.editor import Editor
from letterrec.serving.editing.edits import SetStates
from served import Process, process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="signals and memory as Linux has them"),
]
FIRST, SECOND, READ = "first-admin-token", "second-admin-token", "a-token-for-reading"


@dataclass
class Alone:
    """A server of one process, the files of its tokens, and its memory in bytes."""

    served: Process
    admin: Path
    memory: int


@pytest.fixture(scope="module")
def alone(shop_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    folder = tmp_path_factory.mktemp("alone")
    run = shutil.copytree(shop_run, folder / "run")
    admin, read = folder / "admin", folder / "read"
    admin.write_text(f"{FIRST}\n")
    read.write_text(f"{READ}\n")
    options = ("--token-file", str(admin), "--read-token-file", str(read), "--drain", "600")
    with process(run, *options, "--read-only") as served:
        ask(served, 20, READ)
        yield Alone(served, admin, memory_of(served))


def memory_of(served: Process) -> int:
    """What a server takes of the machine's memory; what processes share is counted once."""
    first = psutil.Process(served.process.pid)
    return sum(p.memory_full_info().pss for p in (first, *first.children()))


def ask(served: Process, times: int, token: str = READ) -> None:
    """Ask over new connections, which reach all processes."""
    for _ in range(times):
        with httpx.Client(base_url=served.client.base_url, timeout=60) as client:
            headers = {"authorization": f"Bearer {token}"}
            body = {"history": ["i05", "i06"]}
            client.post("/v1/recommend", json=body, headers=headers).raise_for_status()


def statuses(served: Process, path: str, times: int) -> list[int]:
    """Of questions over new connections."""
    found = []
    for _ in range(times):
        with httpx.Client(base_url=served.client.base_url, timeout=60) as client:
            client.headers = served.client.headers
            found.append(client.get(path).status_code)
    return found


def test_a_signal_replaces_the_tokens(alone: Alone) -> None:
    def status(token: str) -> int:
        headers = {"authorization": f"Bearer {token}"}
        return alone.served.client.get("/v1/run", headers=headers).status_code

    def read_again(event: str) -> None:
        alone.served.events.clear()
        alone.served.process.send_signal(signal.SIGHUP)
        alone.served.wait_for(event)

    assert [status(t) for t in (FIRST, SECOND, READ)] == [200, 401, 200]
    alone.admin.write_text(f"{FIRST}\n{SECOND}\n")  # both, until all clients have the new one
    read_again("tokens read")
    assert [status(t) for t in (FIRST, SECOND, READ)] == [200, 200, 200]
    alone.admin.write_text("short\n")
    read_again("tokens refused")
    assert [status(t) for t in (FIRST, SECOND)] == [200, 200]
    alone.admin.write_text(f"{SECOND}\n")
    read_again("tokens read")
    assert [status(t) for t in (FIRST, SECOND, READ)] == [401, 200, 200]


def test_new_tokens_do_not_undo_a_rollback(own_run: Path, tmp_path: Path) -> None:
    """The link may point to the run that was left; a third run is loaded."""
    live = tmp_path / "live"
    runs = [shutil.copytree(own_run, tmp_path / f"v{number}") for number in (1, 2, 3)]
    for number, run in enumerate(runs, start=1):
        about = json.loads((run / "run.json").read_text("utf-8"))
        about["started"] = f"2026-01-0{number}T00:00:00+00:00"
        (run / "run.json").write_text(json.dumps(about), "utf-8")
    first, second, third = (Run.open(run).id for run in runs)

    def point(to: Path) -> None:
        (tmp_path / "next").symlink_to(to)
        os.replace(tmp_path / "next", live)

    point(runs[0])
    with process(live, LETTERREC_TOKEN=FIRST) as served:
        served.client.headers["authorization"] = f"Bearer {FIRST}"

        def answers() -> str:
            return str(served.client.get("/v1/run").json()["run"])

        def told(event: str) -> str:
            served.events.clear()
            served.process.send_signal(signal.SIGHUP)
            served.wait_for(event)
            return answers()

        point(runs[1])
        assert told("reloaded") == second
        served.client.post("/v1/rollback").raise_for_status()
        assert told("not reloaded") == first
        served.client.post("/v1/rollback").raise_for_status()  # forward again
        assert told("reloaded") == second
        served.client.post("/v1/rollback").raise_for_status()
        point(runs[2])
        assert told("reloaded") == third


def test_a_server_is_not_ready_before_it_stops(alone: Alone) -> None:
    served = alone.served
    headers = {"authorization": f"Bearer {READ}", "x-request-id": "the-last-one"}
    served.process.send_signal(signal.SIGTERM)
    served.wait_for("draining")
    assert served.client.get("/readyz").status_code == 503
    assert served.client.get("/healthz").status_code == 200
    answer = served.client.post("/v1/recommend", json={"history": ["i05"]}, headers=headers)
    assert answer.status_code == 200
    served.process.send_signal(signal.SIGTERM)  # ends the wait
    assert served.ended() == 0
    served.wait_for("stopped")
    (line,) = [e for e in served.events if e.get("request_id") == "the-last-one"]
    assert line.keys() >= {"time", "level", "event", "model", "run", "generation", "ms", "status"}
    assert "i05" not in json.dumps(served.events)


def test_processes_share_memory_edits_and_reloads(alone: Alone, own_run: Path) -> None:
    with process(own_run, "--workers", "4", "--read-only", LETTERREC_TOKEN=FIRST) as served:
        served.client.headers["authorization"] = f"Bearer {FIRST}"
        first = psutil.Process(served.process.pid)
        ask(served, 40, FIRST)
        assert len(first.children()) == 4
        before = {child.pid for child in first.children()}
        assert memory_of(served) < 1.6 * alone.memory

        Editor(api.load(own_run)).make(SetStates({"i33": "deleted"}))
        ends = time.monotonic() + 30  # a second, on a machine that does nothing else
        while set(statuses(served, "/v1/items/i33", 12)) != {404}:
            assert time.monotonic() < ends

        served.process.send_signal(signal.SIGHUP)
        ends = time.monotonic() + 60
        counted = 'letterrec_reloads_total{result="done"} 1.0'
        while counted not in served.client.get("/metrics").text:
            assert time.monotonic() < ends
            time.sleep(0.05)

        next(iter(first.children())).kill()
        served.wait_for("a worker ended")
        assert set(statuses(served, "/v1/items/i33", 12)) == {404}  # also of the one started anew
        assert counted in served.client.get("/metrics").text  # which did not count it again
        assert [e["worker"] for e in served.events if e["event"] == "reloaded"] == [0]
        assert [e["level"] for e in served.events if e["event"] == "a worker ended"] == ["error"]
        assert served.process.poll() is None
        count = sum(
            float(line.split()[-1])
            for line in served.client.get("/metrics").text.splitlines()
            if line.startswith('letterrec_requests_total{method="POST",route="/v1/recommend"')
        )
        assert count == 40  # of all processes together
        assert served.end(signal.SIGTERM) == 0
        assert not any(psutil.pid_exists(pid) for pid in before)


class Asking:
    """Clients that ask without a pause, each question over a connection of its own.

    ``answers`` has of each question when it was begun, the status and the run that answered.
    """

    def __init__(self, served: Process, clients: int) -> None:
        self._served = served
        self._over = threading.Event()
        self.answers: list[tuple[float, int, str]] = []
        self._pool = ThreadPoolExecutor(clients)
        self._clients = [self._pool.submit(self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        while not self._over.is_set():
            with httpx.Client(base_url=self._served.client.base_url, timeout=60) as client:
                begun = time.monotonic()
                answer = client.post("/v1/recommend", json={"history": ["i05"], "k": 3})
                self.answers.append((begun, answer.status_code, answer.json().get("run", "")))

    def since(self, moment: float, least: int) -> set[str]:
        """The runs that answered what was asked from a moment on, once there are so many."""
        while len(found := [run for begun, _, run in list(self.answers) if begun > moment]) < least:
            assert not any(client.done() for client in self._clients)
            time.sleep(0.02)
        return set(found)

    def end(self) -> None:
        self._over.set()
        self._pool.shutdown()
        for client in self._clients:
            client.result()  # raises what went wrong with a connection


def test_a_rollback_of_several_processes_drops_no_request(own_run: Path, tmp_path: Path) -> None:
    """A call that is answered has reached all processes."""
    live, later = tmp_path / "live", tmp_path / "later"
    shutil.copytree(own_run, later)
    about = json.loads((later / "run.json").read_text("utf-8"))
    (later / "run.json").write_text(json.dumps(about | {"started": "2026-01-01"}), "utf-8")
    first, second = Run.open(own_run).id, Run.open(later).id
    live.symlink_to(own_run)
    with process(live, "--workers", "2") as served:
        asking = Asking(served, 3)
        try:
            assert asking.since(0, 10) == {first}
            (tmp_path / "next").symlink_to(later)
            (tmp_path / "next").replace(live)
            for call, run in (("reload", second), ("rollback", first), ("rollback", second)):
                assert served.client.post(f"/v1/{call}").raise_for_status().json()["run"] == run
                assert asking.since(time.monotonic(), 20) == {run}
        finally:
            asking.end()
        assert {status for _, status, _ in asking.answers} == {200}
        asked = [e for e in served.events if e["event"] == "request" and "recommend" in e["route"]]
        assert {e["worker"] for e in asked} == {0, 1}
        assert served.end(signal.SIGTERM) == 0
