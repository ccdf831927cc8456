"""One search for many requests: a bounded queue and the thread that empties it.

Requests that arrive while a search runs are answered together by the next one. After a search for
several, the next one waits a moment (a small share of a search's time) for as many, since clients
that were answered often ask again; otherwise searches for one or two would go in between. A full
queue refuses at once, and a request whose deadline has passed is dropped before it costs anything.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from letterrec.errors import Overloaded
from letterrec.serving.engine import Engine
from letterrec.serving.queries import Answered, Prepared

_LINGER = 0.2  # of the last search's time
_MOST_LINGER = 0.01  # seconds


@dataclass(eq=False)
class _Job:
    """Queries of one request, all for one engine; the future is of the event loop ``loop``."""

    engine: Engine
    queries: list[Prepared]
    deadline: float
    future: asyncio.Future[list[Answered]]
    loop: asyncio.AbstractEventLoop


class Batcher:
    """Answers prepared queries in batches, on a thread of its own.

    Args:
        capacity: queries that may wait.
        max_batch: queries answered by one search.
        observe: called after each batch with its size and its seconds.
    """

    def __init__(
        self,
        *,
        capacity: int,
        max_batch: int,
        observe: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self._capacity, self._max_batch, self._observe = capacity, max_batch, observe
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="search", daemon=True)
        self._started = False

    @property
    def waiting(self) -> int:
        """Queries in the queue."""
        return self._waiting

    async def answer(
        self, engine: Engine, queries: list[Prepared], deadline: float
    ) -> list[Answered]:
        """Answers to prepared queries, as `Engine.answered` gives them.

        Args:
            engine: that prepared them.
            queries: of one request.
            deadline: on the clock of `time.monotonic`.

        Raises:
            Overloaded: the queue is full, or the deadline passed.
        """
        loop = asyncio.get_running_loop()
        job = _Job(engine, queries, deadline, loop.create_future(), loop)
        with self._changed:
            if self._closed:
                raise Overloaded("the server is shutting down; ask another one")
            if self._waiting and self._waiting + len(queries) > self._capacity:
                raise Overloaded(
                    f"{self._waiting} queries are waiting already, {self._capacity} may; "
                    "try again in a second"
                )
            if not self._started:  # not before: a process may be forked until then
                self._started = True
                self._thread.start()
            self._jobs.append(job)
            self._waiting += len(queries)
            self._changed.notify()
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await job.future
        except TimeoutError:
            raise Overloaded("the deadline passed before the search; try again later") from None

    def close(self) -> None:
        """Answer what is waiting, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._started:
            self._thread.join()

    def _work(self) -> None:
        size, seconds = 0, 0.0
        while batch := self._next(size, min(_LINGER * seconds, _MOST_LINGER)):
            queries = [query for job in batch for query in job.queries]
            started = time.perf_counter()
            try:
                answers = batch[0].engine.answered(queries)
            except Exception as error:  # a defect must not end the thread that answers everyone
                _tell(batch, error)
                continue
            size, seconds = len(queries), time.perf_counter() - started
            self._observe(size, seconds)
            parts = iter(answers)
            _tell(batch, [[next(parts) for _ in job.queries] for job in batch])

    def _next(self, expected: int, linger: float) -> list[_Job]:
        """The oldest jobs that are not late, of one engine, up to a batch; none if closed and
        empty.

        Waits up to ``linger`` seconds while fewer than 1.5 times ``expected`` queries are there.
        """
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            if expected > 1:
                enough = min(int(1.5 * expected), self._max_batch)
                self._changed.wait_for(lambda: self._closed or self._waiting >= enough, linger)
            while True:
                batch: list[_Job] = []
                size = 0
                now = time.monotonic()
                while self._jobs:
                    job = self._jobs[0]
                    dead = job.deadline <= now or job.future.cancelled()
                    if not dead and batch:
                        fits = size + len(job.queries) <= self._max_batch
                        if not fits or job.engine is not batch[0].engine:
                            break
                    self._jobs.popleft()
                    self._waiting -= len(job.queries)
                    if not dead:
                        batch.append(job)
                        size += len(job.queries)
                if batch or self._closed:
                    return batch
                self._changed.wait()


def _tell(batch: list[_Job], result: list[list[Answered]] | Exception) -> None:
    """Hand results to the event loop: one wake-up per loop, not per request."""
    by_loop: dict[asyncio.AbstractEventLoop, list[int]] = {}
    for i, job in enumerate(batch):
        by_loop.setdefault(job.loop, []).append(i)
    for loop, members in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, batch, members, result)


def _settle(
    batch: list[_Job], members: list[int], result: list[list[Answered]] | Exception
) -> None:
    for i in members:
        future = batch[i].future
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result[i])
