"""What the page shows beside recommendations, drawn on a small thread pool and cached as bytes.

The run, the tree and the maps are the same for everyone until the catalogue changes: each is drawn
once, compressed once, and sent as it is.
"""

from __future__ import annotations

import asyncio
import gzip
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from letterrec.errors import Overloaded

_THREADS = 2
_WAITING = 64  # drawings that may wait for a thread
_KEPT = 64 * 2**20  # bytes of cached drawings
_ZIPPED = 1024  # bytes; shorter bodies are not worth compressing
_LEVEL = 4  # of compression, of answers that are made for one request

T = TypeVar("T")


@dataclass(frozen=True)
class CachedBody:
    """The body of a response, also compressed where that makes it smaller."""

    body: bytes
    zipped: bytes | None
    media_type: str

    @classmethod
    def of(cls, body: bytes, media_type: str = "application/json") -> CachedBody:
        """Compress a body, unless it is short."""
        zipped = gzip.compress(body, 6) if len(body) >= _ZIPPED else None
        return cls(body, zipped, media_type)

    @property
    def size(self) -> int:
        """Size in memory, in bytes."""
        return len(self.body) + len(self.zipped or b"")

    def response(self, request: Request, **headers: str) -> Response:
        """The response to a request, compressed if the client accepts that."""
        headers["vary"] = "accept-encoding"
        body = self.body
        if self.zipped is not None and accepts_gzip(request.headers.get("accept-encoding", "")):
            headers["content-encoding"] = "gzip"
            body = self.zipped
        return Response(body, headers=headers, media_type=self.media_type)


class ZippedAnswers(GZipMiddleware):
    """Compresses what is not compressed yet, for clients that accept that.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, minimum_size=_ZIPPED, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""
        if scope["type"] == "http" and accepts_gzip(
            Headers(scope=scope).get("accept-encoding", "")
        ):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class Drawings:
    """Draws what the page shows on a small thread pool, and caches it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="drawing")
        self._running = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[weakref.ref[object], CachedBody]] = OrderedDict()
        self._size = 0
        self._begun: dict[Hashable, asyncio.Future[CachedBody]] = {}

    async def run(self, draw: Callable[[], T]) -> T:
        """Call a function on the thread pool and return its result; nothing is cached.

        Raises:
            Overloaded: too many calls are waiting already.
        """
        if self._running >= _THREADS + _WAITING:
            raise Overloaded(f"{_WAITING} such requests are waiting already; try again in a second")
        with self._lock:
            self._running += 1
        future = self._threads.submit(draw)
        future.add_done_callback(self._ended)
        return await asyncio.wrap_future(future)

    async def get(self, key: Hashable, version: object, draw: Callable[[], bytes]) -> CachedBody:
        """The cached drawing for ``key`` and ``version``; drawn now if missing or outdated.

        Requests for the same drawing share one call of ``draw``.

        Args:
            key: what is drawn: all that the drawing depends on, except the version.
            version: the object that is drawn; for another object it is drawn again.
            draw: returns JSON; called on the thread pool.
        """
        kept = self._kept.get(key)
        if kept is not None and kept[0]() is version:
            self._kept.move_to_end(key)
            return kept[1]
        drawing = (key, id(version))
        begun = self._begun.get(drawing)
        if begun is None:
            begun = asyncio.ensure_future(self.run(lambda: CachedBody.of(draw())))
            self._begun[drawing] = begun
            begun.add_done_callback(lambda done: self._drew(drawing, version, done))
        return await asyncio.shield(begun)  # others wait for it too

    def close(self) -> None:
        """Stop the threads; calls that are still waiting are cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ended(self, future: Future[T]) -> None:
        with self._lock:
            self._running -= 1

    def _drew(
        self, drawing: tuple[Hashable, int], version: object, done: asyncio.Future[CachedBody]
    ) -> None:
        del self._begun[drawing]
        if done.cancelled() or done.exception() is not None:
            return
        key, body = drawing[0], done.result()
        self._forget(key)
        self._kept[key] = weakref.ref(version), body
        self._size += body.size
        while self._size > _KEPT:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._size -= kept[1].size


def accepts_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header allows gzip.

    >>> [accepts_gzip(each) for each in ("br, GZIP;q=0.5", "gzip;q=0", "*", "")]
    [True, False, True, False]
    """
    weights: dict[str, bool] = {}
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        weights[name.strip()] = parameter.replace(" ", "").rstrip("0.") not in ("q=", "q")
    return weights.get("gzip", weights.get("*", False))
