"""What is read apart comes back, or fails, as if it were read here; nothing of it stays here."""

from __future__ import annotations

import os
import threading

import pytest

from letterrec.errors import DataError, RunError
from letterrec.processes.apart import apart


def test_the_result_comes_back_from_another_process() -> None:
    here = threading.active_count()

    def read() -> tuple[int, int]:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return os.getpid(), threading.active_count()

    process, threads = apart(read)
    assert process != os.getpid()
    assert threads == 2
    assert threading.active_count() == here


def test_an_error_comes_back_as_it_was() -> None:
    def fail() -> None:
        raise DataError("no interactions")

    with pytest.raises(DataError, match="no interactions"):
        apart(fail)


def test_a_process_that_is_killed_is_one_line() -> None:
    with pytest.raises(RunError, match="a process that reads the run ended"):
        apart(lambda: os._exit(9))
