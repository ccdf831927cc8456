"""`letterrec serve` as an operator starts and stops it: signals, logs, several processes."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from letterrec import api
from letterrec.serving.catalogue.editor import Editor
from letterrec.serving.catalogue.edits import SetStates
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
        while {e["worker"] for e in list(served.events) if e["event"] == "reloaded"} < {0, 1, 2, 3}:
            assert time.monotonic() < ends
            time.sleep(0.05)

        next(iter(first.children())).kill()
        served.wait_for("a worker ended")
        assert set(statuses(served, "/v1/items/i33", 12)) == {404}  # also of the one started anew
        assert served.process.poll() is None
        count = sum(
            float(line.split()[-1])
            for line in served.client.get("/metrics").text.splitlines()
            if line.startswith('letterrec_requests_total{method="POST",route="/v1/recommend"')
        )
        assert count == 40  # of all processes together
        assert served.end(signal.SIGTERM) == 0
        assert not any(psutil.pid_exists(pid) for pid in before)
