"""Clients that mean no good, all at once: does the server stay up, in time and in its memory?

    python benchmarks/abuse.py RUN [--minutes 20]

Starts `letterrec serve` on a copy of RUN, on loopback, and for so many minutes lets run at the same
time: schemathesis over the server's own description, 80 clients on the map, ordinary questions,
edits, endless and half-sent headers, slow bodies, clients that do not read, broken HTTP and bodies,
wrong hosts and origins, and another process that holds the catalogue's lock now and then. Prints
one JSON object: `ok` is whether schemathesis made cases, and there was no 5xx but 503, no answer
later than its deadline and a
tenth, and no growth of memory. Exit code 1 where it is not.

The clients share the machine with the server: on busy cores what they measure is later than what
the server sent. `server_late` is by the server's own clock, which is what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import httpx
import psutil

from letterrec.runs.origin import processor
from letterrec.runs.run import Run

DEADLINE = 2.0  # seconds, of the server
LONG = 60.0  # of edits and reloads
LATE = 1.1
JSON = {"content-type": "application/json"}


class Server:
    """`letterrec serve`, and what its log says of its answers."""

    def __init__(self, run: Path) -> None:
        command = [sys.executable, "-m", "letterrec.cli", "serve", str(run), "--port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.statuses: Counter[int] = Counter()
        self.late: list[dict[str, Any]] = []
        self.defects: list[str] = []
        self.url = ""
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        while not self.url:
            if self.process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.05)
        self.address = (httpx.URL(self.url).host, httpx.URL(self.url).port or 80)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if not line.startswith("{"):
                continue
            event = json.loads(line)
            if event["event"] == "serving":
                self.url = event["address"]
            if "traceback" in event:
                self.defects.append(event["traceback"][-600:])
            if event["event"] == "request":
                self.statuses[event["status"]] += 1
                edits = event["method"] in ("POST", "PATCH", "DELETE") and (
                    event["route"].startswith("/v1/items") or event["route"] == "/v1/reload"
                )
                if event["ms"] > 1000 * LATE * (LONG if edits else DEADLINE):
                    self.late.append(event)

    def memory(self) -> float:
        """MiB that the process holds."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 2**20)


class Abuse:
    """The clients; each of its methods is one turn of one of them."""

    def __init__(self, server: Server, run: Path) -> None:
        self.server, self.run = server, run
        dataset = Run.open(run).dataset()
        self.items = list(dataset.item_ids)
        self.users = list(dataset.user_ids)
        self.seconds: dict[str, list[float]] = {"healthz": [], "recommend": [], "map": []}
        self.wrong: list[str] = []

    def _ask(self, name: str, client: httpx.Client, *request: Any, **more: Any) -> None:
        started = time.monotonic()
        answer = client.request(*request, **more)
        if name in self.seconds:
            self.seconds[name].append(time.monotonic() - started)
        if answer.status_code >= 500 and answer.status_code != 503:
            self.wrong.append(f"{request}: {answer.status_code} {answer.text[:200]}")
        if answer.status_code >= 400 and set(answer.json()) != {"detail"}:
            self.wrong.append(f"{request}: no one line: {answer.text[:200]}")

    def health(self, client: httpx.Client) -> None:
        """Whether it lives, ten times a second."""
        self._ask("healthz", client, "GET", "/healthz")
        time.sleep(0.1)

    def recommend(self, client: httpx.Client) -> None:
        """What everyone asks."""
        history = random.sample(self.items, 5)
        self._ask("recommend", client, "POST", "/v1/recommend", json={"history": history})
        time.sleep(0.02)

    def much(self, client: httpx.Client) -> None:
        """As much as one may ask for at once."""
        one = {"history": self.items[:200], "k": 200, "explain": True}
        body = {"requests": [one] * 100}
        self._ask("much", client, "POST", "/v1/recommend/batch", json=body)
        time.sleep(1)

    def draw(self, client: httpx.Client) -> None:
        """Maps, mostly the same."""
        points = random.choice([2500] * 20 + [random.randrange(1, 20_000)])
        self._ask("map", client, "GET", f"/v1/map?points={points}")

    def look(self, client: httpx.Client) -> None:
        """Everything else that can be looked at."""
        for path in ("/v1/tree", "/v1/run", "/openapi.json", "/static/plotly.js", "/metrics"):
            self._ask("look", client, "GET", path)
        self._ask("look", client, "GET", f"/v1/items/{random.choice(self.items)}")
        self._ask("look", client, "GET", "/v1/search", params={"q": "a"})

    def edit(self, client: httpx.Client) -> None:
        """Blocks an item and brings it back, over and over."""
        item = random.choice(self.items)
        for state in ("blocked", "active"):
            self._ask("edit", client, "PATCH", f"/v1/items/{item}", json={"state": state})
        time.sleep(0.2)

    def hold_lock(self, client: httpx.Client) -> None:
        """Another process that edits for 5 seconds."""
        with filelock.FileLock(self.run / ".catalogue.lock"):
            time.sleep(5)
        time.sleep(10)

    def reload(self, client: httpx.Client) -> None:
        """Asks for the run anew."""
        self._ask("reload", client, "POST", "/v1/reload")
        time.sleep(15)

    def bad_bodies(self, client: httpx.Client) -> None:
        """Bodies that are none."""
        user = json.dumps(random.choice(self.users))
        bodies = [
            b"[" * 100_000,
            b'{"k":' * 50_000,
            b'{"history": [NaN], "k": 1e999}',
            b'{"k": 1, "k": 2}',
            b'{"k": %s}' % (b"9" * 5000),
            b'{"history": ["\xff\xfe"]}',
            b'{"history": ["\\u0000", "\\ud800"]}',
            b'{"history": [%s]}' % b",".join([b'"x"'] * 200_000),
            b'{"requests": [%s]}' % b",".join([b'{"allowed": [%s]}' % (b"1," * 9000 + b"1")] * 30),
            b"x" * 2_000_000,
            f'{{"user": {user}, "k": 200, "explain": true}}'.encode(),
        ]
        for path in ("/v1/recommend", "/v1/recommend/batch"):
            for body in bodies:
                self._ask("bodies", client, "POST", path, content=body, headers=JSON)

    def bad_heads(self, client: httpx.Client) -> None:
        """Hosts, origins, types and addresses that are none."""
        for name, value in (
            ("host", "evil.example"),
            ("host", "[::1"),
            ("origin", "http://[::1"),
            ("origin", "http://evil.example"),
            ("authorization", "\u00e9" * 50),
            ("content-type", "text/plain"),
            ("accept-encoding", "gzip;q=" + "9" * 500),
        ):
            headers = {**JSON, name: value.encode("latin-1")}
            self._ask("heads", client, "POST", "/v1/recommend", content=b"{}", headers=headers)
        for path in ("/v1/items/%ff", "/v1/search?q=%zz", "/v1/items/" + "a" * 5000, "/%00"):
            self._ask("heads", client, "GET", path)

    def _send(self, *parts: bytes, pause: float = 0.0, read: bool = True) -> None:
        with socket.create_connection(self.server.address, timeout=40) as connection:
            try:
                for part in parts:
                    connection.sendall(part)
                    time.sleep(pause)
                if read:
                    answer = connection.recv(4096)
                    if answer and not re.match(rb"HTTP/1\.1 (2|4|503)", answer):
                        self.wrong.append(f"{parts[0][:80]!r}: {answer[:200]!r}")
                else:
                    time.sleep(5)
            except OSError:
                pass  # closed in the middle is an answer too

    def endless_header(self, client: httpx.Client) -> None:
        """150 MB of one header."""
        self._send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", *[b"x" * 1_000_000] * 150)
        time.sleep(1)

    def half_header(self, client: httpx.Client) -> None:
        """A header, a byte a second."""
        self._send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", *[b"x"] * 15, pause=1)

    def half_body(self, client: httpx.Client) -> None:
        """A body, a byte a second."""
        head = b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n"
        self._send(head + b"Content-Type: application/json\r\n\r\n", *[b"{"] * 15, pause=1)

    def no_reader(self, client: httpx.Client) -> None:
        """Asks for much, many times, and reads nothing."""
        ask = b"GET /static/plotly.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
        self._send(ask * 50, read=False)

    def no_http(self, client: httpx.Client) -> None:
        """Bytes."""
        self._send(random.randbytes(2000))
        self._send(b"GET / HTTP/1.1\r\n\r\n")
        self._send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n")
        self._send(b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.2)

    def crowd(self) -> list[tuple[Callable[[httpx.Client], None], int]]:
        """Who comes, and how many of each."""
        return [
            (self.health, 1),
            (self.recommend, 2),
            (self.much, 1),
            (self.draw, 80),
            (self.look, 4),
            (self.edit, 2),
            (self.hold_lock, 1),
            (self.reload, 1),
            (self.bad_bodies, 2),
            (self.bad_heads, 2),
            (self.endless_header, 1),
            (self.half_header, 20),
            (self.half_body, 20),
            (self.no_reader, 5),
            (self.no_http, 2),
        ]


# 503 with Retry-After is what a server under attack answers, and what its description says.
_SCHEMATHESIS = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503]
"""
_BEGIN = 120  # seconds that schemathesis may need to begin, and to end


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(shutil.copytree(arguments.run, Path(folder) / "run"))
        server = Server(run)
        try:
            result = _measure(server, Abuse(server, run), 60 * arguments.minutes, folder)
            started = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            result["exit_code"] = server.process.wait(60)
            result["seconds_to_stop"] = round(time.monotonic() - started, 1)
        finally:
            server.process.kill()
    print(json.dumps(result, indent=2))
    sys.exit(not result["ok"])


def _measure(server: Server, abuse: Abuse, seconds: float, folder: str) -> dict[str, Any]:
    ends = time.monotonic() + seconds
    dropped: Counter[str] = Counter()

    def live(turn: Callable[[httpx.Client], None]) -> None:
        with httpx.Client(base_url=server.url, timeout=LONG + 20) as client:
            while time.monotonic() < ends:
                try:
                    turn(client)
                except (httpx.TransportError, OSError) as error:
                    dropped[f"{turn.__name__}: {type(error).__name__}"] += 1
                    time.sleep(0.1)

    description = Path(folder) / "openapi.json"
    description.write_bytes(httpx.get(f"{server.url}/openapi.json", timeout=LONG).content)
    start = server.memory()
    everyone = [
        threading.Thread(target=live, args=(turn,), daemon=True)
        for turn, number in abuse.crowd()
        for _ in range(number)
    ]
    settings = Path(folder) / "schemathesis.toml"
    settings.write_text(_SCHEMATHESIS)
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(settings)),
        *("run", str(description), "--url", server.url, "--max-time", str(int(seconds))),
        *("--checks", "not_a_server_error", "--phases", "coverage,fuzzing,stateful"),
        *("--max-examples", "100000", "--request-timeout", str(LONG + 20), "--no-color"),
        "--continue-on-failure",
    ]
    log = Path(folder) / "schemathesis.log"
    memory: list[float] = []
    with log.open("w") as out:
        tester = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=folder)
        begun = time.monotonic()  # it needs a while to begin, and longer among all the others
        while sum(server.statuses.values()) < 20 and time.monotonic() < min(ends, begun + _BEGIN):
            time.sleep(0.1)
        for client in everyone:
            client.start()
        while time.monotonic() < ends and server.process.poll() is None:
            time.sleep(1)
            memory.append(server.memory())
        tester.send_signal(signal.SIGINT)
        try:
            tester.wait(_BEGIN)
        except subprocess.TimeoutExpired:
            tester.kill()
    alive = server.process.poll() is None
    for client in everyone:
        client.join(LONG + 20)
    warm = memory[min(len(memory) - 1, 120) :]
    third = max(1, len(warm) // 3)
    early, late = sum(warm[:third]) / third, sum(warm[-third:]) / third
    said = log.read_text(errors="replace")
    cases = sum(int(n.replace(",", "")) for n in re.findall(r"([\d,]+) generated", said))
    failures = re.findall(r"\d+ found (\d+) unique failures?", said)
    bad = {s: n for s, n in server.statuses.items() if s >= 500 and s != 503}
    flat = late < 1.1 * early + 16
    return {
        "ok": alive
        and cases > 0
        and not failures
        and not bad
        and not server.late
        and not abuse.wrong
        and flat,
        "machine": {"cores": os.cpu_count(), "processor": processor()},
        "minutes": round(seconds / 60, 1),
        "statuses": dict(sorted(server.statuses.items())),
        "server_late": {"n": len(server.late), "first": server.late[:10]},
        "wrong": abuse.wrong[:10],
        "defects": server.defects[:3],
        "dropped": dict(dropped),
        "seconds": {name: _spread(values) for name, values in abuse.seconds.items()},
        "memory_mib": {
            "start": round(start),
            "after_two_minutes": round(memory[min(len(memory) - 1, 120)]),
            "early": round(early),
            "end": round(late),
            "highest": round(max(memory)),
        },
        "schemathesis_cases": cases,
        "schemathesis_failures": int(failures[0]) if failures else 0,
        "schemathesis": said.strip().splitlines()[-12:],
    }


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values) or [0.0]
    return {
        "n": len(values),
        "p50": round(ordered[len(ordered) // 2], 4),
        "p99": round(ordered[int(0.99 * (len(ordered) - 1))], 4),
        "max": round(ordered[-1], 4),
    }


if __name__ == "__main__":
    main()
