"""Clients that are slow, many, or not whom they say, and what each of them is answered."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from letterrec.serving.http import admission, connections, lifecycle, middleware
from letterrec.serving.http.drawings import Drawings
from served import process

JSON = {"content-type": "application/json"}
ASK = {"history": ["i05"], "k": 5}


def connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=60)


def answer_of(connection: socket.socket) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and body of an answer after which the server closes."""
    data = b""
    while part := connection.recv(65536):
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, json.loads(body)


@pytest.mark.slow
def test_an_endless_header_stops_nobody(own_run: Path) -> None:
    with process(own_run) as served:
        slowest = 0.0
        over = threading.Event()

        def watch() -> None:
            nonlocal slowest
            with httpx.Client(base_url=served.client.base_url, timeout=60) as client:
                while not over.is_set():
                    started = time.monotonic()
                    assert client.get("/healthz").status_code == 200
                    slowest = max(slowest, time.monotonic() - started)

        watcher = threading.Thread(target=watch)
        watcher.start()
        with connected(served.client) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
            try:
                for _ in range(150):
                    connection.sendall(b"x" * 1_000_000)
            except OSError:  # it may be closed before all is sent
                pass
            status, _, body = answer_of(connection)
        over.set()
        watcher.join()
        assert status == 431
        assert "65536 bytes" in body["detail"]
        assert slowest < 2  # seconds; 27 when nothing bounded it


@pytest.mark.parametrize("size", [60_000, 66_000])
def test_headers_have_64_kb(client: httpx.Client, size: int) -> None:
    lines = "".join(f"X-{i}: {'x' * 990}\r\n" for i in range(size // 1000))
    with connected(client) as connection:
        head = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{lines}\r\n"
        connection.sendall(head.encode())
        status, _, _ = answer_of(connection)
    assert status == (200 if size < 65_536 else 431)


def test_half_a_head_is_given_up(
    serve: Callable[..., Any], own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with serve(own_run) as served, served.client() as client:
        with connected(client) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            status, _, body = answer_of(connection)
        assert status == 408
        assert "headers" in body["detail"]
        with connected(client) as silent:  # and one that says nothing is closed
            assert silent.recv(1) == b""
        assert client.get("/healthz").status_code == 200
        with connected(client) as kept:  # idle between requests is not half a head
            for _ in range(2):
                kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert kept.recv(65536).startswith(b"HTTP/1.1 200")
                time.sleep(0.6)
        assert 'status="408"' in client.get("/metrics").text


def test_half_a_body_is_given_up_before_the_deadline(
    serve: Callable[..., Any], own_run: Path
) -> None:
    with serve(own_run, deadline=1.0) as served, served.client() as client:
        started = time.monotonic()
        with connected(client) as connection:
            connection.sendall(
                b"POST /v1/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
            )
            status, _, body = answer_of(connection)
        assert status == 408
        assert "body" in body["detail"]
        assert time.monotonic() - started < 5


def test_connections_are_bounded_and_idle_ones_make_room(
    serve: Callable[..., Any], own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "_CONNECTIONS", 6)
    with serve(own_run) as served, served.client() as client:
        idle = [connected(client) for _ in range(30)]
        with served.client() as another:
            assert another.get("/healthz").status_code == 200
        assert len(idle) - sum(is_closed(c) for c in idle) <= 6
        busy = []
        for _ in range(6):  # a body that is still to come makes a connection busy
            connection = connected(client)
            connection.sendall(
                b"POST /v1/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
            )
            busy.append(connection)
        time.sleep(0.3)
        with connected(client) as one_more:
            status, headers, body = answer_of(one_more)
        assert (status, headers["retry-after"]) == (503, "1")
        assert "6 connections" in body["detail"]
        for connection in (*idle, *busy):
            connection.close()


@pytest.mark.slow
def test_many_questions_at_once_whose_answers_nobody_reads(
    serve: Callable[..., Any],
    own_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.3)
    ask = b"GET /static/plotly.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with serve(own_run) as served, served.client() as client:
        with connected(client) as connection:
            connection.sendall(ask * 20)
            time.sleep(3)
        with connected(client) as connection:
            connection.sendall(ask * 20)
        assert client.get("/healthz").status_code == 200
    assert "Traceback" not in caplog.text


def test_a_client_that_reads_slowly_is_answered_and_makes_no_answer_late(
    serve: Callable[..., Any], own_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deadline, pause, n = 5.0, 7.0, 6
    ask = b"GET /static/plotly.js HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    asked = (ask + b"\r\n") * (n - 1) + ask + b"Connection: close\r\n\r\n"
    route = "/static/{name}"
    with (
        caplog.at_level(logging.INFO, logger="letterrec.serving"),
        serve(own_run, deadline=deadline) as served,
        served.client() as client,
    ):
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            connection.settimeout(60)
            connection.connect((client.base_url.host, client.base_url.port))
            connection.sendall(asked)
            time.sleep(pause)
            answers = b""
            while part := connection.recv(2**20):
                answers += part
        assert answers.count(b"HTTP/1.1 200") == n
        metrics = client.get("/metrics").text
    lines = [r.__dict__["fields"] for r in caplog.records if hasattr(r, "fields")]
    asked_for = [line for line in lines if line.get("route") == route]
    assert len(asked_for) == n
    assert max(line["ms"] for line in asked_for) < 1000 * deadline
    # The second was ready at once, and had to wait until the first was read.
    assert max(line["sent_ms"] for line in asked_for) > 1000 * deadline
    assert f'letterrec_request_seconds_bucket{{le="5.0",route="{route}"}} {n}.0' in metrics


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@contextmanager
def slow_search(served: Any, seconds: float) -> Iterator[None]:
    """Every search takes this long more."""
    engine = served.service.engine
    search = engine.answered

    def slowly(queries: Any) -> Any:
        time.sleep(seconds)
        return search(queries)

    engine.answered = slowly
    try:
        yield
    finally:
        del engine.answered


def test_no_answer_comes_after_its_deadline(serve: Callable[..., Any], own_run: Path) -> None:
    with serve(own_run, deadline=0.5) as served, served.client() as client:
        with slow_search(served, 3):
            started = time.monotonic()
            answer = client.post("/v1/recommend", json=ASK)
            assert time.monotonic() - started < 2
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert set(answer.json()) == {"detail"}


def test_a_503_gets_out_before_the_deadline(
    serve: Callable[..., Any],
    own_run: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deadline = 4.0
    monkeypatch.setattr(middleware, "_ROOM", 1.0)
    with (
        caplog.at_level(logging.INFO, logger="letterrec.serving"),
        serve(own_run, deadline=deadline) as served,
        served.client() as client,
        slow_search(served, deadline + 1),
    ):
        assert client.post("/v1/recommend", json=ASK).status_code == 503
    fields = [r.__dict__["fields"] for r in caplog.records if hasattr(r, "fields")]
    (milliseconds,) = [f["ms"] for f in fields if f.get("route") == "/v1/recommend"]
    assert 1000 * (deadline - 1.5) < milliseconds < 1000 * deadline


def test_looks_that_take_long_hold_up_neither_health_nor_the_deadline(
    serve: Callable[..., Any], own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from letterrec.serving.http import views

    monkeypatch.setattr(views, "item", lambda *_: time.sleep(2))
    with serve(own_run, deadline=0.5) as served, served.client() as client:
        with ThreadPoolExecutor(80) as pool:
            looks = [pool.submit(client.get, f"/v1/items/i{i % 60:02d}") for i in range(80)]
            started = time.monotonic()
            assert client.get("/healthz").status_code == 200
            assert client.post("/v1/recommend", json=ASK).status_code in (200, 503)
            assert time.monotonic() - started < 2
            answers = [look.result() for look in looks]
        assert {a.status_code for a in answers} == {503}
        assert all(a.headers["retry-after"] == "1" and "detail" in a.json() for a in answers)


def test_what_many_ask_to_be_drawn_is_drawn_once() -> None:
    class Version:
        pass

    drawn: list[int] = []

    async def ask() -> None:
        drawings = Drawings()
        one, two = Version(), Version()

        def draw() -> bytes:
            time.sleep(0.05)
            drawn.append(1)
            return b"[" + b"1," * 2000 + b"1]"

        together = await asyncio.gather(*(drawings.get("map", one, draw) for _ in range(200)))
        assert len({id(sheet) for sheet in together}) == 1
        assert await drawings.get("map", one, draw) is together[0]
        assert len(drawn) == 1
        assert await drawings.get("map", two, draw) is not together[0]
        assert len(drawn) == 2
        drawings.close()

    asyncio.run(ask())


def test_drawings_follow_the_catalogue_and_are_zipped(
    serve: Callable[..., Any], own_run: Path
) -> None:
    with serve(own_run) as served, served.client() as client:
        for path in ("/v1/map", "/v1/tree", "/openapi.json", "/static/plotly.js", "/"):
            zipped = client.get(path)
            plain = client.get(path, headers={"accept-encoding": "identity"})
            assert zipped.headers["content-encoding"] == "gzip"
            assert "content-encoding" not in plain.headers
            assert zipped.content == plain.content
        assert client.get("/v1/run").json()["blocked"] == 0
        client.patch("/v1/items/i01", json={"state": "blocked"}).raise_for_status()
        assert client.get("/v1/run").json()["blocked"] == 1


HOSTS = {
    "localhost": 200,
    "LOCALHOST:9000": 200,  # through a tunnel
    "127.0.0.1": 200,
    "[::1]:8000": 200,
    "shop.example": 200,
    "evil.example": 421,
    "localhost.evil.example": 421,
    "127.0.0.1.evil.example": 421,
    "": 400,
    "[::1": 400,
    "a b": 400,
    "caf\u00e9": 421,
}


def test_a_page_whose_name_points_here_is_not_ours(
    serve: Callable[..., Any], own_run: Path
) -> None:
    hosts = admission.known_hosts("127.0.0.1", "127.0.0.1", ["shop.example"], False)
    with serve(own_run, hosts=hosts) as served, served.client() as client:
        for host, expected in HOSTS.items():
            with connected(client) as connection:
                body = json.dumps({"state": "blocked"})
                request = (
                    f"PATCH /v1/items/i01 HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
                    f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                    f"Connection: close\r\n\r\n{body}"
                )
                connection.sendall(request.encode("latin-1"))
                status, _, answer = answer_of(connection)
            assert status == expected, (host, answer)
            state = served.service.engine.catalogue.count("blocked")
            assert state == (1 if expected == 200 else 0)
            client.patch("/v1/items/i01", json={"state": "active"}).raise_for_status()
        assert client.get("/healthz", headers={"host": "10.0.0.7"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "bound", "allowed", "token", "known"),
    [
        ("localhost", "127.0.0.1", [], False, {"localhost", "127.0.0.1", "::1"}),
        ("::1", "::1", ["Shop.example"], False, {"localhost", "127.0.0.1", "::1", "shop.example"}),
        ("box", "10.0.0.7", [], False, {"box", "10.0.0.7"}),
        ("127.0.0.1", "127.0.0.1", [], True, None),
        ("0.0.0.0", "0.0.0.0", [], False, None),
        ("10.0.0.7", "10.0.0.7", ["a.example"], True, {"10.0.0.7", "a.example"}),
    ],
)
def test_by_which_names_a_server_is_known(
    host: str, bound: str, allowed: list[str], token: bool, known: set[str] | None
) -> None:
    assert admission.known_hosts(host, bound, allowed, token) == known


@pytest.mark.parametrize(
    "origin", ["http://[::1", "null", "", "http://", "http://a:b:c", "//", "http://x\u00ff"]
)
def test_an_origin_that_is_none_is_another_sites(client: httpx.Client, origin: str) -> None:
    headers = [(b"origin", origin.encode("latin-1")), (b"content-type", b"application/json")]
    answer = client.post("/v1/recommend", headers=headers, content=json.dumps(ASK))
    assert answer.status_code == 403, answer.text
    assert "another site" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["origin", "authorization", "content-type"])
def test_a_header_that_counts_comes_once(client: httpx.Client, name: str) -> None:
    headers = [(name, "127.0.0.1"), (name, "127.0.0.1")]
    answer = client.get("/v1/run", headers=headers)
    assert answer.status_code == 400
    assert f"{name} comes twice" in answer.json()["detail"]


def test_tokens_are_read_as_rfc_7235_says(serve: Callable[..., Any], own_run: Path) -> None:
    token = "correct-horse-battery"
    good = [f"Bearer {token}", f"bearer {token}", f"BEARER   {token}"]
    bad = [token, "Bearer", f"Basic {token}", f"Bearer {token} x", f"Bearer{token}", "\u00e9" * 9]
    with serve(own_run, token=token) as served, served.client() as client:
        for given in good:
            header = {"authorization": given.encode("latin-1")}
            assert client.get("/v1/run", headers=header).status_code == 200, given
        for given in bad:
            header = {"authorization": given.encode("latin-1")}
            answer = client.get("/v1/run", headers=header)
            assert answer.status_code == 401, given
            assert answer.headers["www-authenticate"] == "Bearer"


TYPES = {
    "application/json": 200,
    "application/json; charset=utf-8": 200,
    'Application/JSON;charset="UTF-8"': 200,
    "application/ld+json": 200,
    "application/json; charset=latin-1": 415,
    "text/plain": 415,
    "application/x-www-form-urlencoded": 415,
    "application/jsonp": 415,
    "": 415,
}


@pytest.mark.parametrize("kind", TYPES)
def test_bodies_are_json_by_name(client: httpx.Client, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = client.post("/v1/recommend", content=json.dumps(ASK), headers=headers)
    assert answer.status_code == TYPES[kind]
    if answer.status_code == 415:
        assert "history" not in answer.json()["detail"]


def test_a_zipped_body_is_refused(client: httpx.Client) -> None:
    headers = {**JSON, "content-encoding": "gzip"}
    answer = client.post("/v1/recommend", content=b"\x1f\x8b", headers=headers)
    assert answer.status_code == 415


GET = [
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/v1/run",
    "/v1/tree",
    "/v1/map",
    "/v1/search?q=tea",
    "/v1/items/i01",
    "/static/style.css",
    "/static/plotly.js",
]


@pytest.mark.parametrize("path", GET)
def test_head_is_answered_wherever_get_is(client: httpx.Client, path: str) -> None:
    get, head = client.get(path), client.head(path)
    assert head.status_code == get.status_code == 200
    assert head.content == b""
    for name in ("content-type", "content-encoding", "content-security-policy"):
        assert head.headers.get(name) == get.headers.get(name)
    if path != "/metrics":
        assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/recommend", "OPTIONS, POST"),
        ("/v1/run", "GET, HEAD, OPTIONS"),
        ("/v1/items/i01", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/static/style.css", "GET, HEAD, OPTIONS"),
    ],
)
def test_what_is_allowed_at_an_address_is_told(
    client: httpx.Client, path: str, allowed: str
) -> None:
    answer = client.options(path)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, allowed, b"")
    answer = client.request("POST" if "PUT" in allowed else "PUT", path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert allowed in answer.json()["detail"]
    if "GET" not in allowed:
        assert client.head(path).status_code == 405
    assert client.options("/v2").status_code == 404
    assert client.get("/v1/run/").status_code == 404


def test_errors_name_no_folder_of_the_server(serve: Callable[..., Any], own_run: Path) -> None:
    with serve(own_run) as served, served.client() as client:
        answers = [
            client.post("/v1/recommend", json={"user": "nobody"}),
            client.post("/v1/recommend", json={"history": ["nothing"], "unknown": "refuse"}),
            client.post("/v1/recommend", json={"history": ["i01"], "instruction": "red"}),
        ]
        for name in ("content.safetensors", "data/items.parquet", "settings.toml"):
            kept = (own_run / name).read_bytes()
            (own_run / name).write_bytes(b"[[[")
            answers.append(client.post("/v1/reload"))
            (own_run / name).write_bytes(kept)
        (own_run / "catalogue.parquet").write_bytes(b"damaged")
        answers.append(client.patch("/v1/items/i01", json={"state": "blocked"}))
        for answer in answers:
            assert answer.status_code in (404, 409, 422, 503)
            detail = answer.json()["detail"]
            assert str(own_run.parent) not in detail
            assert "/tmp" not in detail
            assert "\n" not in detail


@contextmanager
def lock_held(run: Path) -> Iterator[None]:
    """Another process edits, and does not end."""
    code = (
        "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); "
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(run / ".catalogue.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.kill()


@pytest.mark.slow
def test_a_lock_that_another_process_keeps_holds_up_neither_edits_nor_the_end(
    own_run: Path,
) -> None:
    with process(own_run) as served, ExitStack() as stack:
        state = {"state": "active"}  # answered when the encoder has been loaded
        served.client.patch("/v1/items/i01", json=state).raise_for_status()
        stack.enter_context(lock_held(own_run))
        started = time.monotonic()
        answer = served.client.patch("/v1/items/i01", json={"state": "blocked"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert time.monotonic() - started < 2.2 + 2
        with ThreadPoolExecutor(20) as pool:

            def edit(i: int) -> httpx.Response:
                return served.client.patch(f"/v1/items/i{i:02d}", json={"state": "blocked"})

            edits = [pool.submit(edit, i) for i in range(20)]
            time.sleep(0.5)
            started = time.monotonic()
            assert served.end(signal.SIGTERM) == 0
            assert time.monotonic() - started < 20
            for waiting in edits:
                try:
                    answer = waiting.result()
                except httpx.TransportError:
                    continue  # it came when nobody listened any more
                assert answer.status_code == 503
                assert set(answer.json()) == {"detail"}
    with process(own_run) as again:  # what was refused did not happen
        assert again.client.get("/v1/run").json()["blocked"] == 0


def test_requests_that_are_given_up_at_the_end_are_told(
    serve: Callable[..., Any], own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "_ENDING", 1)
    with ThreadPoolExecutor(1) as pool:
        with serve(own_run) as served, served.client() as client, slow_search(served, 4):
            asked = pool.submit(client.post, "/v1/recommend", json=ASK)
            time.sleep(0.5)
            served.stop()
            answer = asked.result()
        assert answer.status_code == 503
        assert "stopping" in answer.json()["detail"]


def test_a_process_that_cannot_stop_ends_all_the_same(own_run: Path, tmp_path: Path) -> None:
    """A search that hangs cannot be interrupted; the process ends in time with 0."""
    code = (
        "import threading, sys, time\n"
        "from letterrec.serving.http import lifecycle\n"
        "class Told: should_exit = True\n"
        "lifecycle._STOPPING = 1\n"
        "threading.Thread(target=lifecycle.end_in_time, args=(Told,), daemon=True).start()\n"
        "time.sleep(600)\n"
    )
    started = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert time.monotonic() - started < 120  # most of it for imports, on a busy machine


def test_edits_have_longer_than_questions() -> None:
    assert middleware._LONG == 60
    for method, path, long in (
        ("POST", "/v1/items", True),
        ("DELETE", "/v1/items/a", True),
        ("POST", "/v1/reload", True),
        ("GET", "/v1/items/a", False),
        ("POST", "/v1/recommend", False),
    ):
        assert (middleware._seconds({"method": method, "path": path}) == 60) is long


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal")
@pytest.mark.parametrize("how", ["SIGHUP", "SIGTERM"])
def test_signals_while_the_run_is_loading(own_run: Path, how: str) -> None:
    command = [sys.executable, "-m", "letterrec.cli", "serve", str(own_run), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as served:
        assert served.stderr is not None
        for line in served.stderr:
            if json.loads(line)["event"] == "loading":
                break
        served.send_signal(signal.Signals[how])
        if how == "SIGHUP":
            assert any('"serving"' in line for line in served.stderr)
            served.send_signal(signal.SIGTERM)
        served.stderr.read()
        assert served.wait(60) == 0


LONG = "x" * 5000
LINES = {
    "a key": {"history": [], "a\nb\u2028c" + LONG: 1},
    "an id": {"history": ["a\nb\u2028c" + "x" * 240], "unknown": "refuse"},
    "a user": {"user": "a\u2028b\u0000" + "\u0001" * 200},
    "a list for an id": {"history": [["\n" + LONG]]},
    "a choice": {"history": [], "unknown": "\u2028" + LONG},
}


@pytest.mark.parametrize("name", LINES)
def test_errors_are_one_short_line(client: httpx.Client, name: str) -> None:
    single = client.post("/v1/recommend", json=LINES[name])
    (both,) = client.post("/v1/recommend/batch", json={"requests": [LINES[name]]}).json()["answers"]
    for detail in (single.json()["detail"], both["error"]["detail"]):
        assert len(detail) <= 300
        assert detail.isprintable()


def test_ids_in_addresses_follow_the_rule(serve: Callable[..., Any], own_run: Path) -> None:
    with serve(own_run) as served, served.client() as client:
        new = [{"item": 7, "title": "red lipstick"}, {"item": " sp ", "title": "green tea"}]
        client.post("/v1/items", json={"items": new}).raise_for_status()
        for address, item in (("7", "7"), ("7.0", "7"), ("%20%20sp%20", "sp"), ("%20i01", "i01")):
            assert client.get(f"/v1/items/{address}").json()["item"] == item
            changed = client.patch(f"/v1/items/{address}", json={"state": "blocked"})
            assert changed.json()["item"] == item
        assert client.get("/v1/items/nan").status_code == 422
        assert client.delete("/v1/items/7.0").json()["state"] == "deleted"
        assert client.get("/v1/items/7").status_code == 404
        assert client.get("/v1/tree?prefix=\u0661").status_code == 422
