"""What this process holds of the memory; where the C library is not glibc, nothing is done."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_M_ARENA_MAX = -8  # of mallopt, in malloc.h


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
    """Give free memory back to the system.

    glibc keeps what lies between blocks that are in use. Training on sequences of many lengths
    leaves ever more of it: on a million items 1.2 GB after 20 steps, of which it needs none.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
