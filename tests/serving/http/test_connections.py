"""What a connection may send around its requests, and how long it may stay."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from letterrec.serving.http import connections

HEAD = "Host: 127.0.0.1\r\nContent-Type: application/json\r\n"
ASK = b'{"history": ["i05"], "k": 5}'


def connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=60)


def all_of(connection: socket.socket) -> bytes:
    """What the server says until it closes."""
    data = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            data += part
    return data


def answer_to(client: httpx.Client, request: bytes) -> tuple[int, dict[str, Any]]:
    """Status and body of an answer after which the server closes."""
    with connected(client) as connection:
        connection.sendall(request)
        head, _, body = all_of(connection).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize("what", ["0\r\nX: ", "1;x="])
@pytest.mark.parametrize("first", ["GET /readyz", "POST /v1/recommend"])
def test_endless_trailers_and_extensions_of_chunks_are_not_read(
    client: httpx.Client, first: str, what: str
) -> None:
    head = f"{first} HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n{what}"
    slowest = 0.0
    over = threading.Event()

    def watch() -> None:
        nonlocal slowest
        with httpx.Client(base_url=client.base_url, timeout=60) as another:
            while not over.is_set():
                started = time.monotonic()
                assert another.get("/healthz").status_code == 200
                slowest = max(slowest, time.monotonic() - started)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    with connected(client) as connection:
        connection.sendall(head.encode())
        with suppress(OSError):
            for _ in range(60):
                connection.sendall(b"x" * 1_000_000)
            raise AssertionError("all of it was read")
        answer = all_of(connection)
    over.set()
    watcher.join()
    assert slowest < 2
    # What asks for no body may be answered before so much of one has come.
    assert answer.startswith(b"HTTP/1.1 431") or (first[:3] == "GET" and b" 200 " in answer)
    assert b"connection: close" in answer


def test_small_chunks_are_a_body_like_any_other(client: httpx.Client) -> None:
    body = ASK + b" " * 40_000
    chunks = b"".join(b"1\r\n" + body[i : i + 1] + b"\r\n" for i in range(len(body)))
    head = f"POST /v1/recommend HTTP/1.1\r\n{HEAD}Connection: close\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n"
    status, answer = answer_to(client, head.encode() + chunks + b"0\r\nX: y\r\n\r\n")
    assert status == 200, answer


@pytest.mark.parametrize("first", ["GET /readyz", "POST /v1/recommend"])
@pytest.mark.parametrize(
    "broken", ["Transfer-Encoding: chunked\r\n\r\nzz\r\n", "Transfer-Encoding: gzip\r\n\r\nx"]
)
def test_a_body_that_is_no_http_is_told_at_once(
    client: httpx.Client, first: str, broken: str
) -> None:
    started = time.monotonic()
    status, answer = answer_to(client, f"{first} HTTP/1.1\r\n{HEAD}{broken}".encode())
    assert (status, list(answer)) == (400, ["detail"])
    assert "Transfer-Encoding" in answer["detail"]
    assert time.monotonic() - started < 5


def test_stray_bytes_keep_no_connection_open(
    serve: Callable[..., Any], own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    get = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    with serve(own_run) as served, served.client() as client:
        served.server.config.timeout_keep_alive = 1
        for first in (b"", get + b"\r\n", get + b"Content-Length: 1000\r\n\r\n"):
            with connected(client) as connection:
                connection.settimeout(0.1)
                connection.sendall(first)
                started = time.monotonic()
                while time.monotonic() - started < 20:
                    try:
                        connection.sendall(b"\r\n")
                        if not connection.recv(65536):
                            break
                    except TimeoutError:
                        continue
                    except OSError:
                        break
                assert time.monotonic() - started < 15, first


def test_an_upgrade_that_is_not_offered_is_passed_over(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    post = f"POST /v1/recommend HTTP/1.1\r\n{HEAD}{upgrade}"
    last = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    plain = f"{post}Content-Length: {len(ASK)}\r\n\r\n".encode() + ASK
    chunked = f"{post}Transfer-Encoding: chunked\r\n\r\n{len(ASK):x}\r\n".encode()
    chunked += ASK + b"\r\n0\r\n\r\n"
    get = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n{upgrade}\r\n".encode()
    for request in (plain, chunked, get):
        with connected(client) as connection:
            connection.sendall(request[:-5])
            time.sleep(0.05)
            connection.sendall(request[-5:] + last.encode())
            answer = all_of(connection)
        assert answer.count(b"HTTP/1.1 200") == 2, answer
    assert "pip install" not in caplog.text
