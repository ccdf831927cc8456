"""The gate before every request: who may ask, how much, from where; and what is noted of it.

One ASGI middleware. Knows tokens, body limits, headers and request metrics. Leaves what a request
means to `app`.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from letterrec.serving.observing import Metrics, event, log

_OPEN = ("/", "/healthz", "/readyz", "/openapi.json", "/favicon.ico")  # they show no data
_BODY_SECONDS = 10.0  # in which a body must arrive
_DRAINED = 64 * 2**20  # bytes of a refused body that are read, so that the client sees the answer
_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", _POLICY.encode()),
]


class Guard:
    """Refuses what must not pass and notes what did.

    Args:
        app: what is guarded.
        metrics: where requests are counted.
        token: that clients must bring as ``Authorization: Bearer TOKEN``; None lets everyone in.
        may_change: whether requests may change the catalogue or reload the run.
        body_limit: bytes of a body.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        token: str | None,
        may_change: bool,
        body_limit: int,
    ) -> None:
        self._app, self._metrics, self._body_limit = app, metrics, body_limit
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._may_change = may_change

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0  # until the answer has begun

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await _drain(scope, receive)
                await _answer(noted, *refusal)
            else:
                await self._app(scope, self._limited(receive), noted)
        except Exception:  # a defect: the log tells it, the client and the connection live on
            if status:
                raise
            log.exception("defect")
            await _answer(noted, 500, "the server failed; its log says why")
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.requests.labels(route, scope["method"], status).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            event(
                "request",
                method=scope["method"],
                route=route,
                status=status,
                ms=round(1000 * seconds, 2),
            )

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = dict(scope["headers"])
        path = scope["path"]
        is_open = path in _OPEN or path.startswith("/static/")
        if self._expected is not None and not is_open:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                what = "the token is wrong" if given else "there is no token"
                return 401, f"{what}; send the header 'Authorization: Bearer TOKEN'"
        changes = scope["method"] not in ("GET", "HEAD") and not path.startswith("/v1/recommend")
        if changes and not is_open and not self._may_change:
            return 403, (
                "this server takes no changes: it was started with --read-only, or it can be "
                "reached from elsewhere and needs a token for them (LETTERREC_TOKEN, --token-file)"
            )
        origin = headers.get(b"origin")
        if origin is not None and scope["method"] not in ("GET", "HEAD"):
            host = headers.get(b"host", b"").decode("latin-1")
            if urlsplit(origin.decode("latin-1")).netloc != host:
                return 403, "another site's page may not ask this server; call it from its own page"
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self._body_limit:
            return 413, f"the body is too large; at most {self._body_limit} bytes are read"
        return None

    def _limited(self, receive: Receive) -> Receive:
        """Bodies without a length are counted as they come, and must come in time."""
        taken = 0
        ends = time.monotonic() + _BODY_SECONDS
        complete = False

        async def limited() -> Message:
            nonlocal taken, complete
            if complete:  # what follows the body is the news that the client has left
                return await receive()
            try:
                async with asyncio.timeout(ends - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body did not arrive in time; send it again") from None
            taken += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if taken > self._body_limit:
                raise HTTPException(
                    413, f"the body is too large; at most {self._body_limit} bytes are read"
                )
            return message

        return limited


async def _answer(send: Send, status: int, detail: str) -> None:
    headers: list[Any] = [(b"content-type", b"application/json")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    body = json.dumps({"detail": detail}).encode()
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _drain(scope: Scope, receive: Receive) -> None:
    """Read a refused body and forget it, within limits."""
    taken = 0
    ends = time.monotonic() + _BODY_SECONDS
    more = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
    while more and taken < _DRAINED:
        try:
            async with asyncio.timeout(ends - time.monotonic()):
                message = await receive()
        except TimeoutError:
            return
        taken += len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
