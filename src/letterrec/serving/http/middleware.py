"""What every request passes through: its id, admission, the deadline, body limits, metrics, the
log.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from letterrec.serving.fleet import Standing, Version, standing
from letterrec.serving.http.admission import BULK, Admission
from letterrec.serving.http.cors import cors_headers, preflight_headers
from letterrec.serving.service import Service
from letterrec.serving.telemetry import ServerMetrics, event, log

MIXED = "mixed"  # what is called the model of a batch that several answer
_BODY_SECONDS = 10.0  # in which a body must arrive, where the deadline is later
_DRAINED = 64 * 2**20  # bytes of a refused body that are read, so that the client sees the answer
_ROOM = 0.5  # seconds before the deadline at which a request is given up: its 503 must be in time
_LONG = 60.0  # seconds in which edits and reloads are answered
_LONGEST = 600.0  # seconds in which a table of items is taken
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' https: data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", _POLICY.encode()),
]


class _Late(Exception):
    """Raised when an answer is ready only after its deadline."""


class RequestMiddleware:
    """Refuses inadmissible requests, enforces the deadline, and records every response.

    A request's time runs from its first byte until its response is ready to be sent: waiting in the
    queue counts, the client's reading speed does not. The application finds the deadline, on the
    clock of `time.monotonic`, in ``state["ends"]``. The log reports the time as ``ms``, and the
    time until the response was written to the connection as ``sent_ms``.

    Every answer says what the request is called (``X-Request-ID``: the client's, or one made here)
    and what answered it (``X-Model``, ``X-Run``, ``X-Generation``); so does the log. Where several
    models are served and none was chosen, neither names one.

    Args:
        app: the application behind it.
        metrics: where requests are counted.
        admission: which requests may pass.
        deadline: seconds within which a request is answered; edits and reloads have a minute,
            tables of items ten. A request is given up half a second earlier (for short deadlines, a
            quarter) and answered with 503.
        version: what serves where a route does not say (see `served_by`); None for nothing.
        root_path: the path under which a proxy has this server, such as ``/rec``; requests may
            come with it or without.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: ServerMetrics,
        admission: Admission,
        deadline: float,
        version: Callable[[], Version | None],
        root_path: str = "",
    ) -> None:
        self._app, self._metrics, self._admission = app, metrics, admission
        self._deadline, self._version, self._root_path = deadline, version, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = self._below_root(scope)
        state = scope.setdefault("state", {})
        request_id = _request_id(scope)
        origin = self._admission.named_origin(scope)
        arrived = state.setdefault("arrived", time.monotonic())
        state["ends"] = arrived + _given(self._deadline)
        ends = arrived + _given(max(_seconds(scope), self._deadline))
        method = scope["method"]
        # Whatever answers GET answers HEAD; uvicorn leaves the body out.
        inner = {**scope, "method": "GET"} if method == "HEAD" else scope
        limit = asyncio.timeout(max(0.0, ends - time.monotonic()))
        status = 0  # until the answer has begun
        ready = 0.0  # when it had begun

        async def noted(message: Message) -> None:
            nonlocal status, ready
            if message["type"] == "http.response.start":
                status, ready = message["status"], time.monotonic()
                message["headers"] = [
                    *message.get("headers", []),
                    *_HEADERS,
                    (b"x-request-id", request_id),
                    *_version_headers(self._served(state)),
                    *(cors_headers(origin) if self._admission.origins else ()),
                ]
                if state.get("arriving"):  # the rest of the body is not the next request
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        async def in_time(message: Message) -> None:
            if not status and not limit.expired():
                if time.monotonic() > ends:
                    raise _Late
                limit.reschedule(None)  # the client's reading speed does not count
            await noted(message)

        try:
            async with limit:
                refusal = state.get("broken") or self._admission.refusal(scope)
                preflight = preflight_headers(scope) if origin is not None else None
                if refusal is None and preflight is not None:
                    await _send(in_time, 204, preflight)
                elif refusal is None and self._is_root(scope):
                    location = [(b"location", f"{self._root_path}/".encode())]
                    await _send(in_time, 308, location)
                elif refusal is None:
                    await self._app(
                        inner, self._limited(receive, scope["path"], state, ends), in_time
                    )
                else:
                    whole = await _drained(scope, receive, arrived, ends)
                    await _answer(in_time, *refusal, close=not whole)
        except (_Late, TimeoutError) as error:
            if status or not (limit.expired() or isinstance(error, _Late)):
                raise
            await _answer(noted, 503, "the deadline passed; try again later", close=True)
        except asyncio.CancelledError:  # uvicorn is stopping and cancels open requests
            if status:
                raise
            await _answer(noted, 503, "the server is stopping; ask another one", close=True)
        except Exception:  # a defect: logged, and answered with 500
            if status:
                raise
            log.exception("defect")
            await _answer(noted, 500, "the server failed; its log says why")
        finally:
            ended = time.monotonic()
            seconds = (ready if status else ended) - arrived
            route = getattr(inner.get("route"), "path", "unmatched")
            self._metrics.requests.labels(route, method, status).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            event(
                "request",
                request_id=request_id.decode(),
                method=method,
                route=route,
                status=status,
                **self._served(state),
                ms=round(1000 * seconds, 2),
                sent_ms=round(1000 * (ended - arrived), 2),
            )

    def _served(self, state: dict[str, Any]) -> Mapping[str, object]:
        """What answers a request, as fields; from the first call on it stays."""
        if "served" not in state:
            version = self._version()
            state["served"] = {} if version is None else version._asdict()
        served: Mapping[str, object] = state["served"]
        return served

    def _below_root(self, scope: Scope) -> Scope:
        """A request as it would be without the root path, which some proxies strip and some not."""
        root, path = self._root_path, scope["path"]
        if not root or not path.startswith(f"{root}/"):
            return scope
        raw = scope.get("raw_path") or path.encode()
        return {**scope, "path": path[len(root) :], "raw_path": raw[len(root.encode()) :]}

    def _is_root(self, scope: Scope) -> bool:
        """Whether it is the root path without its slash, from which the page's links go wrong."""
        return bool(self._root_path) and scope["path"] == self._root_path

    def _limited(self, receive: Receive, path: str, state: dict[str, Any], ends: float) -> Receive:
        """Limit the size of bodies without a declared length, and the time in which all arrive."""
        most = self._admission.body_limit_of(path)
        arrived = state["arrived"]
        taken = 0
        complete = False

        async def limited() -> Message:
            nonlocal taken, complete
            if complete:  # only the client's disconnect follows the body
                return await receive()
            try:
                async with asyncio.timeout(_body_ends(arrived, ends) - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    408,
                    "the body did not arrive in time; send it again",
                    {"connection": "close"},
                ) from None
            if "broken" in state:
                raise HTTPException(*state["broken"])
            taken += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if taken > most:
                raise HTTPException(413, f"the body is too large; at most {most} bytes are read")
            return message

        return limited


def _given(deadline: float) -> float:
    """Seconds after which a request is given up, so that it is answered by its deadline.

    >>> _given(2.0), _given(0.5)
    (1.5, 0.375)
    """
    return max(deadline - _ROOM, 0.75 * deadline)


def _seconds(scope: Scope) -> float:
    """Seconds that a request has besides those that all have: what edits and reloads wait for may
    be a text encoder or a run.
    """
    path = scope["path"]
    if scope["method"] not in ("POST", "PUT", "PATCH", "DELETE"):
        return 0.0
    if path == BULK:
        return _LONGEST
    return _LONG if path.startswith("/v1/items") or path in ("/v1/reload", "/v1/rollback") else 0.0


def _request_id(scope: Scope) -> bytes:
    """The request's id: the client's if it is short and printable, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return bytes(value)
    return uuid4().hex.encode()


def _version_headers(served: Mapping[str, object]) -> list[tuple[bytes, bytes]]:
    return [(f"x-{name}".encode(), str(value).encode()) for name, value in served.items()]


def _body_ends(arrived: float, ends: float) -> float:
    """When a body must have arrived, so that it can be answered before the deadline."""
    given = ends - arrived
    return arrived + min(max(_BODY_SECONDS, given / 6), 0.9 * given)


async def _answer(send: Send, status: int, detail: str, *, close: bool = False) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers: list[Any] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 503:
        headers.append((b"retry-after", b"1"))
    if close:
        headers.append((b"connection", b"close"))
    await _send(send, status, headers, body)


async def _send(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b""
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _drained(scope: Scope, receive: Receive, arrived: float, ends: float) -> bool:
    """Read and discard a refused body, within limits; return whether it was read to its end."""
    taken = 0
    more = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
    while more and taken < _DRAINED and "broken" not in scope["state"]:
        try:
            async with asyncio.timeout(_body_ends(arrived, ends) - time.monotonic()):
                message = await receive()
        except TimeoutError:
            return False
        taken += len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
    return not more


def served_by(request: Request, *versions: Version) -> None:
    """Say what answers a request; of several versions only that they are several."""
    fields = [version._asdict() for version in versions]
    if fields:
        request.scope["state"]["served"] = fields[0] if len(fields) == 1 else {"model": MIXED}


def is_served(request: Request) -> bool:
    """Whether it has been said what answers a request."""
    return "served" in request.scope["state"]


def answering(request: Request, service: Service) -> Standing:
    """A model as it stands now, which answers a request: its answer says so."""
    now = standing(service)
    served_by(request, now.version)
    return now


def ends_of(request: Request) -> float:
    """The deadline of a request, on the clock of `time.monotonic`."""
    ends: float = request.scope["state"]["ends"]
    return ends
