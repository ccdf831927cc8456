"""Free memory goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HOLDS = """
import psutil
import torch
from letterrec.processes.memory import give_back

me = psutil.Process()
blocks = [torch.ones(5_000) for _ in range(20_000)]  # 20 kB each, 400 MB
kept = blocks[::100]
before = me.memory_info().rss
del blocks
give_back()
print(before - me.memory_info().rss)
assert all(bool((block == 1).all()) for block in kept)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_what_is_free_between_blocks_in_use_is_given_back() -> None:
    command = [sys.executable, "-c", HOLDS]
    freed = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert freed > 250_000_000
