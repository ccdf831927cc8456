"""Reloads and rollbacks, told to every process of a server through memory that they share."""

from __future__ import annotations

import asyncio
import mmap
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import filelock
import numpy as np

from letterrec.errors import Conflict, LetterRecError

Switch = Literal["reload", "rollback"]
SWITCHES: tuple[Switch, ...] = ("reload", "rollback")
_MOST = 4096  # switches since the start that are remembered
_LOOK_EVERY = 0.1  # seconds
_PATIENCE = 50.0  # seconds in which the other processes follow


class Switches:
    """What was switched since the start, in order, and how far each process has followed.

    Made before the processes are; each then says which one it is. The process that switches does it
    itself first, then tells, and waits for the others.

    Args:
        models: names, in order.
        workers: processes.
        lock: a file that only this server uses.
    """

    def __init__(self, models: Sequence[str], workers: int, lock: Path) -> None:
        self._models = list(models)
        size = 1 + _MOST + 2 * workers
        shared = np.frombuffer(mmap.mmap(-1, 8 * size), dtype=np.int64)  # shared after a fork
        self._count = shared[:1]  # switches so far
        self._made = shared[1 : 1 + _MOST]
        self._done = shared[1 + _MOST :][:workers]  # how many each process has followed
        self._failed = shared[1 + _MOST :][workers:]  # the last one that each could not follow
        self._lock = lock
        self._worker = 0

    def begin(self, worker: int) -> None:
        """Say which process this is; a process begins with what was loaded at the start."""
        self._worker = worker
        self._done[worker] = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """While no other process switches.

        Raises:
            Conflict: another one does.
        """
        lock = filelock.FileLock(self._lock, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise Conflict("another reload or rollback is under way; ask again after it") from None
        try:
            yield
        finally:
            lock.release()

    async def tell(self, model: str, switch: Switch) -> int:
        """Have the other processes follow what this one has done; call it in one's `turn`.

        Returns:
            How many have not followed.
        """
        count = int(self._count[0])
        code = self._models.index(model) * len(SWITCHES) + SWITCHES.index(switch)
        self._made[count % _MOST] = code
        self._done[self._worker] = count + 1
        self._count[0] = count + 1
        ends = time.monotonic() + _PATIENCE
        while (self._done <= count).any() and time.monotonic() < ends:
            await asyncio.sleep(_LOOK_EVERY / 2)
        return int(((self._done <= count) | (self._failed == count + 1)).sum())

    async def follow(self, make: Callable[[str, Switch], Awaitable[object]]) -> None:
        """Do what other processes have switched, as it comes, until cancelled."""
        while True:
            await self.catch_up(make)
            await asyncio.sleep(_LOOK_EVERY)

    async def catch_up(self, make: Callable[[str, Switch], Awaitable[object]]) -> None:
        """Do what has been switched so far."""
        me = self._worker
        while self._done[me] < self._count[0]:
            number = int(self._done[me])
            model, switch = divmod(int(self._made[number % _MOST]), len(SWITCHES))
            try:
                await make(self._models[model], SWITCHES[switch])
            except LetterRecError:  # logged where it is raised
                self._failed[me] = number + 1
            self._done[me] = number + 1
