"""What the page draws, made on a few threads beside the search and kept as bytes.

The run, the tree and the maps are the same for everyone until the catalogue changes: each is made
once, zipped once, and sent as it is.
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

from letterrec.errors import Overloaded

_THREADS = 2
_WAITING = 64  # looks that may wait for a thread
_KEPT = 64 * 2**20  # bytes of drawings
_ZIPPED = 1024  # bytes from which on it is worth while

T = TypeVar("T")


@dataclass(frozen=True)
class Sheet:
    """A body as it is sent, zipped where that pays."""

    body: bytes
    zipped: bytes | None
    media_type: str

    @classmethod
    def of(cls, body: bytes, media_type: str = "application/json") -> Sheet:
        """Zip a body, unless it is short."""
        zipped = gzip.compress(body, 6) if len(body) >= _ZIPPED else None
        return cls(body, zipped, media_type)

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return len(self.body) + len(self.zipped or b"")

    def answer(self, request: Request, **headers: str) -> Response:
        """The answer to a request, zipped if its client reads that."""
        headers["vary"] = "accept-encoding"
        body = self.body
        if self.zipped is not None and takes_gzip(request.headers.get("accept-encoding", "")):
            headers["content-encoding"] = "gzip"
            body = self.zipped
        return Response(body, headers=headers, media_type=self.media_type)


class Drawings:
    """Runs looks on threads of their own and keeps what they drew."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="looking")
        self._running = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[weakref.ref[object], Sheet]] = OrderedDict()
        self._size = 0
        self._begun: dict[Hashable, asyncio.Future[Sheet]] = {}

    async def run(self, look: Callable[[], T]) -> T:
        """The result of a look.

        Raises:
            Overloaded: too many wait.
        """
        if self._running >= _THREADS + _WAITING:
            raise Overloaded(f"{_WAITING} looks are waiting already; try again in a second")
        with self._lock:
            self._running += 1
        future = self._threads.submit(look)
        future.add_done_callback(self._ended)
        return await asyncio.wrap_future(future)

    async def sheet(self, key: Hashable, version: object, draw: Callable[[], bytes]) -> Sheet:
        """What was drawn under a key from this version of something; drawn if it is not there.

        Requests for a sheet that is being drawn wait for it together.

        Args:
            key: what is drawn, with all that it depends on beside the version.
            version: the object that is drawn; another one makes the sheet anew.
            draw: makes JSON, on one of the threads.
        """
        kept = self._kept.get(key)
        if kept is not None and kept[0]() is version:
            self._kept.move_to_end(key)
            return kept[1]
        drawing = (key, id(version))
        begun = self._begun.get(drawing)
        if begun is None:
            begun = asyncio.ensure_future(self.run(lambda: Sheet.of(draw())))
            self._begun[drawing] = begun
            begun.add_done_callback(lambda done: self._drew(drawing, version, done))
        return await asyncio.shield(begun)  # others wait for it too

    def close(self) -> None:
        """Stop; what has not begun is given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ended(self, future: Future[T]) -> None:
        with self._lock:
            self._running -= 1

    def _drew(
        self, drawing: tuple[Hashable, int], version: object, done: asyncio.Future[Sheet]
    ) -> None:
        del self._begun[drawing]
        if done.cancelled() or done.exception() is not None:
            return
        key, sheet = drawing[0], done.result()
        self._forget(key)
        self._kept[key] = weakref.ref(version), sheet
        self._size += sheet.size
        while self._size > _KEPT:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._size -= kept[1].size


def takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header lets an answer be zipped.

    >>> takes_gzip("br, GZIP;q=0.5"), takes_gzip("gzip;q=0"), takes_gzip("*"), takes_gzip("")
    (True, False, True, False)
    """
    weights: dict[str, bool] = {}
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        weights[name.strip()] = parameter.replace(" ", "").rstrip("0.") not in ("q=", "q")
    return weights.get("gzip", weights.get("*", False))
