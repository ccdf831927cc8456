"""A rehearsal of a fit: real steps on its data, a few of each kind, and a clock that counts all.

Inside `rehearsing`, whatever repeats the same work leaves most of it out and tells the rehearsal
how long that would have taken: training takes a few steps of a few epochs, ranking a few batches,
an encoder some texts. The rehearsal's clock runs ahead by what was left out, so that any span of it
is an estimate of that span of the fit. Outside, nothing here is asked anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

BUDGET = 1.0  # seconds that repeated work is sampled for, a unit more or less
_LONG = 10.0  # seconds of a first unit beyond which it stands for all
_STATUS = Path("/proc/self/status")
_PEAK_RESET = Path("/proc/self/clear_refs")

Unit = TypeVar("Unit")


@dataclass(frozen=True)
class Training:
    """What a training would be.

    Attributes:
        label: as shown with its progress.
        epochs: still to come, at most: patience may end it sooner.
        steps: of all these epochs.
        step_seconds: a step takes, on average.
        validations: among the epochs.
        validation_seconds: one of them takes.
        parameters: trained numbers.
        weights_bytes: of the module, what is frozen in it included.
        optimizer_bytes: of what the optimizer remembers.
    """

    label: str
    epochs: int
    steps: int
    step_seconds: float
    validations: int
    validation_seconds: float
    parameters: int
    weights_bytes: int
    optimizer_bytes: int


@dataclass
class Stage:
    """What a stage of a run would take.

    Attributes:
        seconds: by the rehearsal's clock.
        peak_bytes: the largest resident memory of the process in it; 0 where that is unknown.
        device_bytes: the largest memory of a GPU in it; 0 without one.
        trainings: within the stage.
    """

    seconds: float = 0.0
    peak_bytes: int = 0
    device_bytes: int = 0
    trainings: list[Training] = field(default_factory=list)


class Rehearsal:
    """The clock of a rehearsal, and what each stage would take by it.

    Attributes:
        stages: by name, in the order in which they were done.
    """

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self._skipped = 0.0
        self._stage = Stage()  # what is done before the first one

    def now(self) -> float:
        """Seconds of the rehearsal's clock; only differences mean something."""
        return time.perf_counter() + self._skipped

    def skip(self, seconds: float) -> None:
        """Let the clock run ahead by what was left out; by less than nothing, put it back."""
        self._skipped += seconds

    def sample(self, units: Sequence[Unit]) -> Iterator[Unit]:
        """Some of the units of a work, until the budget is used up; the clock skips the others.

        They are taken evenly from first to last. What the first one takes is not counted where
        there are others: it warms up.

        Args:
            units: of similar work, or ordered by how much they are.
        """
        done, first, further = 0, 0.0, 0.0
        for i in _spread(len(units)):
            started = self.now()
            yield units[i]
            took = self.now() - started
            first, further = (took, 0.0) if done == 0 else (first, further + took)
            done += 1
            if first + further > BUDGET and (done > 1 or first > _LONG):
                break
        if done:
            each = further / (done - 1) if done > 1 else first
            self.skip(each * (len(units) - done))

    def trained(self, training: Training) -> None:
        """Note a training of the stage."""
        self._stage.trainings.append(training)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what the block does as a stage; within itself it is the same stage."""
        if self._stage is self.stages.get(name) and not self._stage.seconds:
            yield
            return
        self._stage = self.stages[name] = Stage()
        _forget_peak()
        started = self.now()
        yield
        self._stage.seconds = self.now() - started
        self._stage.peak_bytes = _peak_bytes()
        if torch.cuda.is_available():
            self._stage.device_bytes = torch.cuda.max_memory_allocated()


_current: ContextVar[Rehearsal | None] = ContextVar("rehearsal", default=None)


def current() -> Rehearsal | None:
    """The rehearsal that is going on, if any."""
    return _current.get()


def some(units: Sequence[Unit]) -> Iterable[Unit]:
    """Units of repeated work: all of them, or in a rehearsal a sample."""
    rehearsal = current()
    return units if rehearsal is None else rehearsal.sample(units)


@contextmanager
def rehearsing() -> Iterator[Rehearsal]:
    """Inside the block this thread rehearses."""
    rehearsal = Rehearsal()
    token = _current.set(rehearsal)
    try:
        yield rehearsal
    finally:
        _current.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Inside the block a stage is done, measured if it is rehearsed."""
    rehearsal = current()
    if rehearsal is None:
        yield
        return
    with rehearsal.stage(name):
        yield


def _spread(n: int) -> list[int]:
    """Numbers below ``n``, each early part of them spread evenly.

    >>> _spread(8)
    [0, 4, 2, 6, 1, 5, 3, 7]
    """
    bits = max(1, (n - 1).bit_length())
    mirrored = (int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits))
    return [i for i in mirrored if i < n]


def _forget_peak() -> None:
    """Begin anew to look for the largest memory."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        _PEAK_RESET.write_text("5")
    except OSError:  # where the kernel has or allows none: the peak is that of the whole process
        return


def _peak_bytes() -> int:
    """The largest resident memory of this process since `_forget_peak`; 0 where it is not known."""
    try:
        lines = _STATUS.read_text("utf-8").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
