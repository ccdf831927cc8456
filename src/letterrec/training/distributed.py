"""Several processes that make one run, one per device, as ``torchrun`` or Ray Train starts them.

All of them run the same code. Up to the recommender, the main process works alone; the others wait,
then load its results. Inside `together` they share training steps and rankings in lockstep. Only
the main process writes files and prints. A process that was started alone never waits.
"""

from __future__ import annotations

import atexit
import datetime
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from letterrec.errors import RunError, short
from letterrec.progress import console

_PATIENCE = datetime.timedelta(days=1)  # the main process may prepare for long
_Part = TypeVar("_Part")
_together = False


class ProcessLost(RunError):
    """Another process has ended, so that this one cannot go on."""


def join() -> None:
    """Connect to the other processes, if ``torchrun`` has started any.

    Ray Train connects the processes that it starts itself, and closes the connection. From here on,
    every call that waits for the others raises `ProcessLost` when one of them has ended. A
    connection that was made here is closed when this process exits.
    """
    if dist.is_torchelastic_launched() and not dist.is_initialized():
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, timeout=_PATIENCE)
        atexit.register(_leave)
    if dist.is_initialized():
        console.quiet = not is_main()


def is_main() -> bool:
    """Whether this process is the main one: it alone writes files and speaks to the user."""
    return not dist.is_initialized() or dist.get_rank() == 0


@contextmanager
def main_first() -> Iterator[None]:
    """The main process runs the block first, then the others; all leave it together."""
    if not is_main():
        _wait()
    yield
    if is_main():
        _wait()
    _wait()


@contextmanager
def together() -> Iterator[None]:
    """Inside the block processes share work: `count` is their number.

    All must enter it, with equal settings.
    """
    global _together
    _together = True
    try:
        yield
    finally:
        _together = False


def started() -> int:
    """How many processes make the run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def count() -> int:
    """How many processes share the work; 1 outside `together`."""
    return started() if _together else 1


def rank() -> int:
    """The number of this process among those that share the work, from 0."""
    return dist.get_rank() if count() > 1 else 0


def meet() -> None:
    """Wait for all processes that share the work; what the main one wrote can then be read."""
    if count() > 1:
        _wait()


def average(tensors: Sequence[Tensor]) -> None:
    """Replace float tensors of one dtype and device by their means over the processes."""
    if count() == 1:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    _all_reduce(flat)
    parts = torch.split(flat / count(), [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def average_rows(gradient: Tensor) -> Tensor:
    """The mean over the processes of a sparse gradient ``(n, d)``, of which each has some rows."""
    mine = gradient.coalesce()
    found = _of_all((mine.indices().cpu(), mine.values().cpu()))
    rows = torch.cat([part[0] for part in found], 1).to(gradient.device)  # (1, touched)
    values = torch.cat([part[1] for part in found]).to(gradient.device)  # (touched, d)
    mean = values / count()
    return torch.sparse_coo_tensor(rows, mean, gradient.shape, check_invariants=False).coalesce()


def gather(text: str) -> list[str]:
    """The texts of all processes that share the work, by their rank."""
    return [text] if count() == 1 else _of_all(text)


def keep_largest(tensor: Tensor) -> None:
    """Replace each element of a tensor by its maximum over the processes."""
    if count() > 1:
        _all_reduce(tensor, dist.ReduceOp.MAX)


def _leave() -> None:
    """End gloo's threads before Python ends.

    They need the GIL to release the last tensor; a thread that asks for it after Python has ended
    aborts the process. After a sharded model, caches of PyTorch keep the threads alive: they are
    given time instead.
    """
    if dist.is_initialized():
        dist.destroy_process_group()
        time.sleep(0.2)


def _wait() -> None:
    if dist.is_initialized():
        _all_reduce(torch.zeros(1))  # on the CPU: waiting keeps no device busy


def _all_reduce(tensor: Tensor, how: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> None:
    try:
        dist.all_reduce(tensor, how)
    except RuntimeError as error:  # what gloo and NCCL raise when the other side is gone
        raise _has_ended(error) from None


def _of_all(mine: _Part) -> list[_Part]:
    found = [mine] * count()
    try:
        dist.all_gather_object(found, mine)
    except RuntimeError as error:
        raise _has_ended(error) from None
    return found


def _has_ended(error: RuntimeError) -> ProcessLost:
    return ProcessLost(
        f"process {dist.get_rank()}: another process has ended, and should say why "
        f"({short(str(error).splitlines()[0], 120)})"
    )
