"""Work that divides into independent parts, and who does it: this process, or a cluster.

A step that is costly and divides (content embeddings, codes, lists for all users, a log by its
users) hands its parts to `do`. Inside a block of `done_by` others do them, such as the processes
of `letterrec.cluster`; elsewhere they are done here, one after the other. What comes out is the
same: a part knows nothing of other parts, nor of who does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeVar

P = TypeVar("P")
R = TypeVar("R")
Start = Callable[[], Callable[[P], R]]  # makes, once in a process, what then does its parts


class Workers(Protocol):
    """Who does parts."""

    def do(self, start: Start[P, R], parts: Sequence[P]) -> Iterator[tuple[P, R]]:
        """Each part with its result, as they get done, in any order; see `do`."""

    def scratch(self, name: str) -> AbstractContextManager[Path]:
        """A folder that all of them see; see `scratch`."""


class _Here:
    """This process does the parts, in their order."""

    def do(self, start: Start[P, R], parts: Sequence[P]) -> Iterator[tuple[P, R]]:
        if not len(parts):
            return
        work = start()
        for part in parts:
            yield part, work(part)

    def scratch(self, name: str) -> AbstractContextManager[Path]:
        """A folder for temporary files."""
        return _temporary(name)


@contextmanager
def _temporary(name: str) -> Iterator[Path]:
    # Polars' threads may still write there for a moment after they have failed.
    with TemporaryDirectory(prefix=f"letterrec-{name}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


_workers: ContextVar[Workers | None] = ContextVar("workers", default=None)
_HERE = _Here()


def do(start: Start[P, R], parts: Sequence[P]) -> Iterator[tuple[P, R]]:
    """Do independent parts of a work.

    Args:
        start: loads what all parts need (a model, say), once in each process, and returns the
            function that does one part. It travels to other processes: a function of a module, or
            a `functools.partial` of one. Not called where there are no parts.
        parts: small, or made when they are asked for: they travel, too. A part may be done twice
            where a process is lost: one that leaves files writes them whole or not at all.

    Returns:
        Each part and what came of it, in any order.

    >>> sorted(do(lambda: len, ["one", "three"]))
    [('one', 3), ('three', 5)]
    """
    return (_workers.get() or _HERE).do(start, parts)


def scratch(name: str) -> AbstractContextManager[Path]:
    """A folder for files of parts, which all who do parts see; gone when the block ends well.

    Where others do parts, it stays when the block does not end well, so that the same work under
    the same name goes on with what is in it.
    """
    return (_workers.get() or _HERE).scratch(name)


def is_shared() -> bool:
    """Whether others do the parts."""
    return _workers.get() is not None


@contextmanager
def done_by(workers: Workers) -> Iterator[None]:
    """Inside the block, these workers do the parts that this thread hands to `do`."""
    token = _workers.set(workers)
    try:
        yield
    finally:
        _workers.reset(token)
