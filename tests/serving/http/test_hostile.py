"""Bad requests: each gets a 4xx and a line that says why; none a 5xx."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

JSON = {"content-type": "application/json"}
RECOMMEND = "/v1/recommend"
DEEP = "[" * 100_000 + "]" * 100_000

# name -> method, path, body (bytes are sent as they are), status, words of the answer
BAD: dict[str, tuple[str, str, Any, int, str]] = {
    "no body": ("POST", RECOMMEND, b"", 422, "the body is empty; expected a JSON object"),
    "no JSON": ("POST", RECOMMEND, b"history=i01", 400, "not JSON"),
    "cut JSON": ("POST", RECOMMEND, b'{"history": ["i0', 400, "not JSON"),
    "not UTF-8": ("POST", RECOMMEND, b'{"history": ["\xff\xfe"]}', 400, "JSON"),
    "deep nesting": ("POST", RECOMMEND, DEEP.encode(), 400, "nesting"),
    "deep objects": ("POST", RECOMMEND, b'{"a":' * 50_000, 400, "JSON"),
    "a list": ("POST", RECOMMEND, [], 422, "body"),
    "null": ("POST", RECOMMEND, b"null", 422, "body"),
    "neither history nor user": ("POST", RECOMMEND, {}, 422, "either history"),
    "history and user": ("POST", RECOMMEND, {"history": [], "user": "u1"}, 422, "either history"),
    "history a string": ("POST", RECOMMEND, {"history": "i01"}, 422, "valid list"),
    "history of unknown numbers": ("POST", RECOMMEND, {"history": [1]}, 404, "'1'"),
    "history of booleans": ("POST", RECOMMEND, {"history": [True]}, 422, "no id"),
    "history of lists": ("POST", RECOMMEND, {"history": [["i01"]]}, 422, "no id"),
    "history of a large float": ("POST", RECOMMEND, {"history": [1e300]}, 422, "lost digits"),
    "history of nulls": ("POST", RECOMMEND, {"history": [None]}, 422, "valid string"),
    "history with NaN": ("POST", RECOMMEND, b'{"history": [NaN]}', 400, "NaN is no number"),
    "history with an empty id": ("POST", RECOMMEND, {"history": [""]}, 422, "at least 1"),
    "history with a long id": ("POST", RECOMMEND, {"history": ["i" * 300]}, 422, "at most 256"),
    "history too long": ("POST", RECOMMEND, {"history": ["i01"] * 1001}, 422, "at most 1000"),
    "surrogate": ("POST", RECOMMEND, b'{"history": ["\\ud800"]}', 422, "history"),
    "unknown item": (
        "POST",
        RECOMMEND,
        {"history": ["i01", "nope"], "unknown": "refuse"},
        404,
        "'nope'",
    ),
    "only unknown items": ("POST", RECOMMEND, {"history": ["nope", "?"]}, 404, "nothing of it is"),
    "unknown what to do": ("POST", RECOMMEND, {"history": [], "unknown": "ask"}, 422, "'skip' or"),
    "unknown user": ("POST", RECOMMEND, {"user": "nobody"}, 404, "'nobody'"),
    "k zero": ("POST", RECOMMEND, {"history": [], "k": 0}, 422, "greater than or equal to 1"),
    "k negative": ("POST", RECOMMEND, {"history": [], "k": -5}, 422, "k = -5"),
    "k huge": ("POST", RECOMMEND, {"history": [], "k": 10**9}, 422, "less than or equal to 200"),
    "k beyond integers": ("POST", RECOMMEND, b'{"history":[],"k":%s}' % (b"9" * 400), 422, "k ="),
    "k endless": (
        "POST",
        RECOMMEND,
        b'{"history":[],"k":%s}' % (b"9" * 5000),
        400,
        "5000 digits; at",
    ),
    "where nothing": ("POST", RECOMMEND, {"where": {"a": []}}, 422, "body.where.a = []: expected"),
    "where a half": ("POST", RECOMMEND, {"where": {"a": 0.5}}, 422, "where.a = 0.5: expected text"),
    "an empty split key": ("POST", RECOMMEND, {"history": [], "split_key": ""}, 422, "split_key ="),
    "k a fraction": ("POST", RECOMMEND, {"history": [], "k": 2.5}, 422, "k = 2.5"),
    "k a string": ("POST", RECOMMEND, {"history": [], "k": "10"}, 422, "k = '10'"),
    "k a boolean": ("POST", RECOMMEND, {"history": [], "k": True}, 422, "k = True"),
    "k NaN": ("POST", RECOMMEND, b'{"history": [], "k": NaN}', 400, "NaN is no number"),
    "k infinite": ("POST", RECOMMEND, b'{"history": [], "k": Infinity}', 400, "Infinity is no"),
    "k beyond floats": ("POST", RECOMMEND, b'{"history": [], "k": 1e999}', 400, "too large"),
    "a key twice": ("POST", RECOMMEND, b'{"history": [], "k": 1, "k": 2}', 400, "'k' comes twice"),
    "UTF-16": ("POST", RECOMMEND, '{"history": []}'.encode("utf-16"), 400, "no UTF-8"),
    "a null in an id": ("POST", RECOMMEND, {"user": "u1\u0000"}, 404, "is not among"),
    "query not UTF-8": ("GET", "/v1/search?q=%ff", None, 400, "percent-encoded"),
    "query not encoded": ("GET", "/v1/search?q=100%25%zz", None, 400, "percent-encoded"),
    "path not UTF-8": ("GET", "/v1/items/%ff", None, 400, "percent-encoded"),
    "wrong ids without number": (
        "POST",
        RECOMMEND + "/batch",
        {"requests": [{"history": [], "allowed": [True] * 900}] * 30},
        200,  # every request has an answer or an error of its own
        "True is no id",
    ),
    "flag a word": ("POST", RECOMMEND, {"history": [], "exclude_seen": "yes"}, 422, "boolean"),
    "unknown key": ("POST", RECOMMEND, {"history": [], "limit": 3}, 422, "limit"),
    "allowed a string": ("POST", RECOMMEND, {"history": [], "allowed": "i01"}, 422, "valid list"),
    "allowed unknown": ("POST", RECOMMEND, {"history": [], "allowed": ["?"]}, 404, "'?'"),
    "blocked unknown": (
        "POST",
        RECOMMEND,
        {"history": [], "blocked": ["?"], "unknown": "refuse"},
        404,
        "'?'",
    ),
    "allowed too long": ("POST", RECOMMEND, {"history": [], "allowed": ["i01"] * 10_001}, 422, ""),
    "empty batch": ("POST", RECOMMEND + "/batch", {"requests": []}, 422, "at least 1"),
    "large batch": (
        "POST",
        RECOMMEND + "/batch",
        {"requests": [{"history": []}] * 101},
        422,
        "at most 100",
    ),
    "10 MB": ("POST", RECOMMEND, b'{"history": ["' + b"x" * 10**7 + b'"]}', 413, "too large"),
    "wrong method": ("PUT", RECOMMEND, {"history": []}, 405, "not allowed"),
    "unknown path": ("GET", "/v2/recommend", None, 404, "openapi.json"),
    "unknown item's page": ("GET", "/v1/items/nope", None, 404, "'nope'"),
    "path out of the items": ("GET", "/v1/items/..%2f..%2fetc%2fpasswd", None, 404, "passwd"),
    "path out of the page": ("GET", "/static/..%2f..%2fengine.py", None, 404, "nothing"),
    "path out, doubled": ("GET", "/static/....//....//etc/passwd", None, 404, "nothing"),
    "path with a null": ("GET", "/static/style.css%00.js", None, 404, ""),
    "search for nothing": ("GET", "/v1/search?q=", None, 422, "at least 1"),
    "search without words": ("GET", "/v1/search", None, 422, "query.q"),
    "search too long": ("GET", "/v1/search?q=" + "a" * 300, None, 422, "at most 200"),
    "search limit": ("GET", "/v1/search?q=a&limit=100000", None, 422, "limit"),
    "tree of words": ("GET", "/v1/tree?prefix=a,b", None, 422, "prefix"),
    "tree off the codes": ("GET", "/v1/tree?prefix=99", None, 404, "[99]"),
    "tree too deep": ("GET", "/v1/tree?prefix=1,2,3,4,5,6", None, 404, "[1, 2"),
    "map of nothing": ("GET", "/v1/map?of=users", None, 422, "'items' or 'codes'"),
    "map of level 9": ("GET", "/v1/map?of=codes&level=9", None, 404, "level 9"),
    "new item without text": ("POST", "/v1/items", {"items": [{"item": "x"}]}, 422, "neither"),
    "new item known": ("POST", "/v1/items", {"items": [{"item": "i01", "title": "x"}]}, 409, "i01"),
    "new item twice": (
        "POST",
        "/v1/items",
        {"items": [{"item": "x", "title": "x"}] * 2},
        422,
        "tw",
    ),
    "new item unprintable": (
        "POST",
        "/v1/items",
        {"items": [{"item": "a\u0007", "title": "bell"}]},
        422,
        "printable",
    ),
    "new item's text too long": (
        "POST",
        "/v1/items",
        {"items": [{"item": "x", "title": "t" * 10_001}]},
        422,
        "at most 10000",
    ),
    "unknown state": ("PATCH", "/v1/items/i01", {"state": "gone"}, 422, "'active'"),
    "block nothing": ("PATCH", "/v1/items/nope", {"state": "blocked"}, 404, "'nope'"),
    "delete nothing": ("DELETE", "/v1/items/nope", None, 404, "'nope'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_refused_with_a_reason(client: httpx.Client, name: str) -> None:
    method, path, body, status, words = BAD[name]
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    answer = client.request(method, path, content=content, headers=JSON)
    assert answer.status_code == status, answer.text
    said = answer.json()
    detail = said["detail"] if "detail" in said else said["answers"][-1]["error"]["detail"]
    assert words.lower() in detail.lower()
    assert len(detail) < 300
    assert "\n" not in detail


@pytest.mark.parametrize("padding", [0, 100_000])
def test_a_large_body_is_answered_like_a_small_one(client: httpx.Client, padding: int) -> None:
    requests = [{"history": [5, "i06"], "k": 3}, {"k": 0}, {"history": ["i07"], "explain": True}]
    body = json.dumps({"requests": requests}).encode() + b" " * padding
    answer = client.post("/v1/recommend/batch", content=body, headers=JSON)
    assert answer.status_code == 200
    first, second, third = answer.json()["answers"]
    assert [len(first["items"]), len(third["items"])] == [3, 10]
    assert first["skipped"] == ["5"]
    assert second["error"]["status"] == 422
    assert all(item["because"] is not None for item in third["items"])
    wrong = body.replace(b"requests", b"reqvests")
    answer = client.post("/v1/recommend/batch", content=wrong, headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("body.requests = ")


def test_there_are_enough_bad_requests() -> None:
    assert len(BAD) >= 30


def test_a_large_body_without_a_length_is_refused(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100_000

    answer = client.post(RECOMMEND, content=chunks(), headers=JSON)
    assert answer.status_code == 413
    assert "at most 1000000 bytes" in answer.json()["detail"]


def test_a_body_of_another_type_is_refused(client: httpx.Client) -> None:
    answer = client.post(
        RECOMMEND, content=b'{"history": []}', headers={"content-type": "text/xml"}
    )
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    while part := connection.recv(65536):
        answer += part
    return answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"a" * 100_000 + b"\r\n\r\n",
        b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["long header", "negative length", "length of letters", "no HTTP", "TLS"],
)
def test_broken_http_is_refused(client: httpx.Client, request_bytes: bytes) -> None:
    url = client.base_url
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(request_bytes)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 4")
    assert b"content-type: application/json" in head
    assert set(json.loads(body)) == {"detail"}
    assert client.get("/healthz").status_code == 200


def test_the_server_keeps_to_its_own_description(serve: Callable[..., Any], own_run: Path) -> None:
    """Schemathesis: requests made from the OpenAPI description, right and wrong ones."""
    with serve(own_run) as served:
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            *("run", f"{served.url}/openapi.json"),
            *("--checks", "not_a_server_error,status_code_conformance"),
            *("--checks", "response_schema_conformance,content_type_conformance"),
            *("--phases", "examples,coverage,fuzzing"),
            *("--max-examples", "5", "--seed", "1", "--request-timeout", "120", "--no-color"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=own_run.parent)
        assert done.returncode == 0, done.stdout[-4000:]
        assert "Tested: 22" in done.stdout
