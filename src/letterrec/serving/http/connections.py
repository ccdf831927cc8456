"""Limits on connections and request heads, and errors before a request is complete.

Extends uvicorn's httptools protocol, which limits neither. Limits the framing of bodies as well:
chunk extensions and trailers.
"""

from __future__ import annotations

import asyncio
import json
import time

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

HEAD_BYTES = 65_536  # of request line and headers; also of a body's framing
HEAD_SECONDS = 10.0  # in which they must arrive
UNREAD_SECONDS = 30.0  # that an answer waits for a client that does not read
_CHUNK = 24  # bytes that a chunk may have around its data: the length, line ends
_PIECE = 16_384  # bytes given to the parser at once
_FRAMING = (b"content-length", b"transfer-encoding")
_LINGER = 2.0  # seconds of discarding a refused client's bytes, so that it can read the response


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection.

    ``limit_concurrency`` of uvicorn's configuration is the largest number of connections. Beyond it
    a new one replaces the one that has been idle longest; if none is idle, it gets a 503.

    In ``scope["state"]`` of a request, ``"arrived"`` is when its first byte was read, on the clock
    of `time.monotonic`; for a pipelined request, plus the time during which the client did not read
    earlier responses. ``"arriving"`` says whether its body is incomplete; ``"broken"`` holds status
    and reason if the rest of the body is not read.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._most_connections, self.limit_concurrency = self.limit_concurrency, None
        self._since = time.monotonic()
        self._in_head, self._begun, self._refused = True, False, False
        self._head = self._around = 0
        self._upgrading = self._priming = False
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
            was_in_body = not self._in_head
            self._taken = 0
            self._feed(piece)
            if self._in_head and self._begun:
                self._head += len(piece)
                if self._head > HEAD_BYTES:
                    self._refuse_head()
            elif was_in_body and not self._in_head:
                self._around = max(0, self._around + len(piece) - self._taken)
                if self._around > HEAD_BYTES:
                    self._refuse_body(
                        431,
                        f"trailers or extensions of chunks are too large; at most {HEAD_BYTES}"
                        " bytes are read",
                    )

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on()
            if rest := data[upgrade.args[0] :]:
                self._feed(rest)
        except httptools.HttpParserError:
            self.send_400_response("")

    def _go_on(self) -> None:
        """Go on in HTTP/1.1 after an Upgrade header, at which the parser ends the request even if
        it has a body.
        """
        self.parser = httptools.HttpRequestParser(self)
        if self._upgrading:
            self._upgrading, self._priming = False, True
            lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] in _FRAMING]
            self._feed(b"POST / HTTP/1.1\r\n" + b"".join(lines) + b"\r\n")
            self._priming = False

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._priming:
            return
        self._unset_keepalive_if_required()
        super().on_message_begin()
        self._since = self.scope["state"]["arrived"] = time.monotonic()
        self._in_head, self._begun, self._head = True, True, 0
        self._fields = 0
        self._set_late()

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        if not self._priming:
            self._fields += len(url)
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; trailers are ignored."""
        if self._in_head:
            self._fields += len(name) + len(value) + 4
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete: the application takes over."""
        if self._priming:
            return
        self._in_head, self._begun, self._around = False, False, 0
        self._unset_late()
        self.scope["state"]["arriving"] = True
        self._upgrading = self.parser.should_upgrade() and any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 "))
            for name, value in self.headers
        )
        if self._fields > HEAD_BYTES:
            self._refuse_head()
        if not self._refused:
            super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """A chunk of the body begins."""
        self._taken += _CHUNK

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._taken += len(body)
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete; another one may follow."""
        if self._upgrading:
            return
        self._in_head = True
        if not self._refused:
            self.scope["state"]["arriving"] = False
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer has been written."""
        self._since = time.monotonic()
        super().on_response_complete()
        if self._begun:  # the next head has its own time
            self._unset_keepalive_if_required()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """The client does not read what was written."""
        super().pause_writing()
        self._paused = time.monotonic()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        now = time.monotonic()
        for waiting, _ in self.pipeline:  # the client's delay does not count
            state = waiting.scope["state"]
            state["arrived"] += now - max(self._paused, state["arrived"])

    def timeout_keep_alive_handler(self) -> None:
        """No further request came."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP."""
        if self._in_head:
            self._refuse(
                400, "this is not a valid HTTP/1.1 request; check its first line and headers"
            )
        else:
            self._refuse_body(
                400, "the body is not sent as HTTP/1.1 says; check Transfer-Encoding and its chunks"
            )

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

    def _set_late(self) -> None:
        self._unset_late()
        self._late = self.loop.call_later(HEAD_SECONDS, self._is_late)

    def _unset_late(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _is_late(self) -> None:
        self._late = None
        if not self._is_idle:  # the next request waits for this one's answer
            self._set_late()
        elif self._begun:
            self._refuse(408, "the headers did not arrive in time; send them again")
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        self._refuse(
            431, f"request line and headers are too large; at most {HEAD_BYTES} bytes are read"
        )

    def _refuse_body(self, status: int, detail: str) -> None:
        """Stop reading a request that the application is already handling."""
        self._refused = True
        self.scope["state"]["broken"] = (status, detail)
        if self.cycle is not None:
            self.cycle.keep_alive = False
            self.cycle.message_event.set()

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
