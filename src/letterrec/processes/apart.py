"""One piece of work in a copy of this process, which ends after it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import NoReturn, TypeVar

from letterrec.errors import RunError

Value = TypeVar("Value")


def apart(read: Callable[[], Value]) -> Value:
    """What a function returns, called in a copy of this process that ends after it.

    Libraries that read tables start threads, and wait for them forever in a process that is forked
    later; here they end with the copy. Only for systems that can fork.

    Raises:
        LetterRecError: what the function raises.
    """
    reading_end, writing_end = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading_end)
        _tell_and_end(writing_end, read)
    os.close(writing_end)
    with os.fdopen(reading_end, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if not said:
        raise RunError("a process that reads the run ended; look for what ended it, as memory")
    value: Value | Exception = pickle.loads(said)
    if isinstance(value, Exception):
        raise value
    return value


def _tell_and_end(pipe: int, read: Callable[[], object]) -> NoReturn:
    """Write what a function returns or raises to a pipe, and end this process."""
    try:
        try:
            said: object = read()
        except Exception as error:
            said = error
        with os.fdopen(pipe, "wb") as stream:
            pickle.dump(said, stream, protocol=pickle.HIGHEST_PROTOCOL)
    finally:
        os._exit(0)
