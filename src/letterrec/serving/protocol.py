"""Connections and the head of a request: how many, how large, how long; errors before there is one.

uvicorn's protocol on httptools, which bounds none of these. Leaves a request whose head is complete
to the application.
"""

from __future__ import annotations

import asyncio
import json
import time

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

HEAD_BYTES = 65_536  # of request line and headers
HEAD_SECONDS = 10.0  # in which they must arrive
UNREAD_SECONDS = 30.0  # that an answer waits for a client that does not read
_PIECE = 16_384  # bytes given to the parser at once
_LINGER = 2.0  # seconds in which a refused client's bytes are thrown away, so that it sees why


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection.

    ``limit_concurrency`` of uvicorn's configuration is the number of connections: where there are
    as many, a new one takes the place of the one that has been idle longest, or gets a 503.

    Every request's ``scope["state"]["arrived"]`` is when its first byte was read, on the clock of
    `time.monotonic`.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._most_connections, self.limit_concurrency = self.limit_concurrency, None
        self._since = time.monotonic()
        self._in_head, self._begun, self._refused = True, False, False
        self._head = 0
        self._answering: RequestResponseCycle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = self.loop.call_later(HEAD_SECONDS, self._is_late)
        if self._most_connections is not None and len(self.connections) > self._most_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left."""
        for timer in (self._late, self._unread):
            if timer is not None:
                timer.cancel()
        self._unset_keepalive_if_required()
        # uvicorn tells only the latest of several requests that were sent at once.
        for cycle in (self._answering, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        for start in range(0, len(data), _PIECE):
            if self._refused or self.transport.is_closing():
                return
            piece = data if len(data) <= _PIECE else data[start : start + _PIECE]
            super().data_received(piece)
            if self._in_head and self._begun:
                self._head += len(piece)
                if self._head > HEAD_BYTES:
                    self._refuse_head()
        if self._in_head and self._begun:
            if self._late is None:
                self._late = self.loop.call_later(HEAD_SECONDS, self._is_late)
        elif self._late is not None:
            self._late.cancel()
            self._late = None

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._since = self.scope["state"]["arrived"] = time.monotonic()
        self._in_head, self._begun, self._head = True, True, 0
        self._fields = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._fields += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._fields += len(name) + len(value) + 4
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete: the application takes over."""
        self._in_head, self._begun = False, False
        if self._fields > HEAD_BYTES:
            self._refuse_head()
        if not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete; another one may follow."""
        self._in_head = True
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer has been written."""
        self._since = time.monotonic()
        super().on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """The client does not read what was written."""
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def timeout_keep_alive_handler(self) -> None:
        """No further request came."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, "this is not a valid HTTP/1.1 request; check its first line and headers")

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _make_room(self) -> None:
        idle = [c for c in self.connections if isinstance(c, BoundedHttpProtocol) and c._is_idle]
        idle = [c for c in idle if c is not self]
        if idle:
            oldest = min(idle, key=lambda c: c._since)
            self.connections.discard(oldest)
            oldest.transport.abort()
        else:
            most = self._most_connections
            self._refuse(503, f"{most} connections are busy already; try again in a second")

    def _is_late(self) -> None:
        self._late = None
        if not self._is_idle:  # the next request waits for this one's answer
            self._late = self.loop.call_later(HEAD_SECONDS, self._is_late)
        elif self._begun:
            self._refuse(408, "the headers did not arrive in time; send them again")
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        self._refuse(
            431, f"request line and headers are too large; at most {HEAD_BYTES} bytes are read"
        )

    def _refuse(self, status: int, detail: str) -> None:
        """Answer without the application and read nothing further."""
        if self._refused:
            return
        self._refused = True
        if not self._is_idle:  # the answer of the request before goes first, and is the last
            self.cycle.keep_alive = False
            return
        body = json.dumps({"detail": detail}).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *([(b"retry-after", b"1")] if status == 503 else []),
        ]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER, self.transport.abort)
        note = self.app_state.get("refused")
        if note is not None:
            note(status)
