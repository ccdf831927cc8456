"""What this process holds of the memory; where the C library is not glibc, nothing is done."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

_M_ARENA_MAX = -8  # of mallopt, in malloc.h
_GROWN = 1.5  # times what was left, from which on it is time to give back
_PAGES = Path("/proc/self/statm")  # the second number: resident


def share_arenas() -> None:
    """Let all threads allocate from two arenas.

    glibc gives each thread an arena of its own, which keeps the memory of the largest response that
    the thread ever made: twice what a busy server needs. ``MALLOC_ARENA_MAX`` in the environment
    decides otherwise.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def give_back() -> None:
    """Give free memory back to the system: glibc keeps what lies between blocks that are in use."""
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


class Growth:
    """Gives free memory back whenever the process has grown by half since it last did.

    Training on sequences of many lengths leaves ever more free memory between blocks: on a million
    items 0.25 GB a step, beside the 4 GB that are in use.
    """

    def __init__(self) -> None:
        self._left = 0.0  # bytes, after memory was last given back

    def bound(self) -> None:
        """Give back what is free, where it is time to."""
        if resident() > _GROWN * self._left:
            give_back()
            self._left = resident()


def resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not say."""
    try:
        return int(_PAGES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
