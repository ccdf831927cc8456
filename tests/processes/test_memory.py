"""Free memory goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HOLDS = """
import psutil
import torch
from letterrec.processes.memory import Growth, give_back

def freed(megabytes, give_back):
    '''What goes back of blocks of 20 kB each, of which one in a hundred stays.'''
    blocks = [torch.ones(5_000) for _ in range(50 * megabytes)]
    kept.extend(blocks[::100])
    before = me.memory_info().rss
    del blocks
    give_back()
    return before - me.memory_info().rss

me, kept, growth = psutil.Process(), [], Growth()
growth.bound()
print(freed(400, give_back), freed(20, growth.bound), freed(1_000, growth.bound))
assert all(bool((block == 1).all()) for block in kept)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_what_is_free_between_blocks_in_use_is_given_back_and_after_growth_by_half() -> None:
    command = [sys.executable, "-c", HOLDS]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    at_once, grown_little, grown_by_half = map(int, said.split())
    assert at_once > 250_000_000
    assert grown_little < 5_000_000
    assert grown_by_half > 600_000_000
