"""Load on a served run: throughput and latency by connections, and behaviour under overload.

    python benchmarks/serve.py RUN [--seconds 10] [--overload-seconds 60] [--threads N]
                              [--workers N]

Starts `letterrec serve RUN` on loopback and drives it with wrk (`apt-get install wrk`), which
shares the machine's cores with the server. Requests are histories of the run's own users, k = 10.
The overload phase keeps ten times the connections of the last phase busy and watches the server's
memory. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from letterrec.runs.origin import processor
from letterrec.runs.run import Run

_BODIES = 2000
_SCRIPT = """
local bodies = {}
for line in io.lines("%(bodies)s") do bodies[#bodies + 1] = line end
local threads = {}
function setup(thread) thread:set("number", #threads); threads[#threads + 1] = thread end
function init(args)
  math.randomseed(number + 1)
  statuses = ""
  counts = {}
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
end
function request() return wrk.format(nil, "/v1/recommend", nil, bodies[math.random(#bodies)]) end
function response(status)
  counts[status] = (counts[status] or 0) + 1
  if counts[status] %% 50 == 1 then
    statuses = ""
    for s, n in pairs(counts) do statuses = statuses .. s .. "=" .. n .. ";" end
  end
end
function done(summary, latency)
  local all = {}
  for _, thread in ipairs(threads) do all[#all + 1] = thread:get("statuses") end
  io.write(string.format("RESULT %%d %%d %%f %%f %%f %%f %%d %%d %%d %%d %%s\\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, latency.mean, summary.errors.connect, summary.errors.read,
    summary.errors.write, summary.errors.timeout, table.concat(all, ";")))
end
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--overload-seconds", type=int, default=60)
    parser.add_argument("--threads", type=int, help="of the server; it decides where none is given")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("this needs wrk; run: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        script = _script(arguments.run, Path(folder))
        environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
        if arguments.threads:
            environment["OMP_NUM_THREADS"] = str(arguments.threads)
        command = [sys.executable, "-m", "letterrec.cli", "serve"]
        started = time.monotonic()
        server = subprocess.Popen(
            [
                *(*command, str(arguments.run), "--port", "0", "--read-only"),
                *("--workers", str(arguments.workers)),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            url = _address(server)
            while not _is_ready(url):
                time.sleep(0.02)
            ready = time.monotonic() - started
            _load(url, script, 8, 3)  # warm
            phases = [_load(url, script, n, arguments.seconds) for n in arguments.connections]
            overload = _overload(server.pid, url, script, arguments)
        finally:
            server.terminate()
            server.wait()
    result = {
        "machine": {
            "cores": os.cpu_count(),
            "processor": processor(),
            "server_threads": arguments.threads,
            "workers": arguments.workers,
        },
        "run": Run.open(arguments.run).settings.recommender.name,
        "ready_seconds": round(ready, 2),
        "phases": phases,
        "overload": overload,
    }
    print(json.dumps(result, indent=2))


def _script(run: Path, folder: Path) -> Path:
    dataset = Run.open(run).dataset()
    draw = random.Random(0)
    bodies = folder / "bodies.jsonl"
    with bodies.open("w") as file:
        for _ in range(_BODIES):
            history = dataset.interactions[draw.randrange(dataset.n_users)]
            items = [dataset.item_ids[i] for i in history]
            file.write(json.dumps({"history": items, "k": 10}) + "\n")
    script = folder / "load.lua"
    script.write_text(_SCRIPT % {"bodies": bodies})
    return script


def _address(server: subprocess.Popen[str]) -> str:
    """Wait until the server answers; its log is read on, so that it never blocks."""
    assert server.stderr is not None
    for line in server.stderr:
        if line.startswith("{") and "serving" in line:
            address = str(json.loads(line)["address"])
            threading.Thread(target=server.stderr.read, daemon=True).start()
            return address
    raise SystemExit("the server did not start")


def _is_ready(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(f"{url}/readyz").status == 200)
    except OSError:
        return False


def _load(url: str, script: Path, connections: int, seconds: int) -> dict[str, Any]:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
    done = subprocess.run(
        [*command, "-s", str(script), url], capture_output=True, text=True, check=True
    )
    line = next(x for x in done.stdout.splitlines() if x.startswith("RESULT"))
    _, requests, duration, p50, p99, most, mean, *errors, statuses = line.split(" ")
    counts: dict[str, int] = {}
    for part in filter(None, statuses.split(";")):
        status, _, n = part.partition("=")
        counts[status] = counts.get(status, 0) + int(n)
    return {
        "connections": connections,
        "requests_per_second": round(int(requests) / (int(duration) / 1e6), 1),
        "p50_ms": round(float(p50) / 1000, 2),
        "p99_ms": round(float(p99) / 1000, 2),
        "max_ms": round(float(most) / 1000, 2),
        "mean_ms": round(float(mean) / 1000, 2),
        "statuses_seen": sorted(counts),
        "connect_read_write_timeout_errors": [int(e) for e in errors],
    }


def _memory(process: psutil.Process) -> float:
    """Resident memory in MiB; of several processes what they share is counted once (PSS)."""
    children = process.children()
    if not children:
        return float(process.memory_info().rss / 2**20)
    return float(sum(p.memory_full_info().pss for p in (process, *children)) / 2**20)


def _overload(pid: int, url: str, script: Path, arguments: Any) -> dict[str, Any]:
    process = psutil.Process(pid)
    memory: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            memory.append(_memory(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        connections = 10 * arguments.connections[-1]
        result = _load(url, script, connections, arguments.overload_seconds)
    finally:
        over.set()
        watcher.join()
    quarter = max(1, len(memory) // 4)
    result["memory_mib"] = {
        "second_quarter": round(sum(memory[quarter : 2 * quarter]) / quarter, 1),
        "last_quarter": round(sum(memory[-quarter:]) / quarter, 1),
        "highest": round(max(memory), 1),
    }
    return result


if __name__ == "__main__":
    main()
