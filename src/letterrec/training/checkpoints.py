"""The checkpoint of a training: one safetensors file, from which it resumes exactly.

Holds weights, best weights, the optimizer's state and the log; within an epoch also the progress
and the random states of every process.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from letterrec.errors import RunError, short
from letterrec.files import refuse_damaged
from letterrec.files.arrays import read_metadata
from letterrec.files.tensors import read_tensors, write_tensors
from letterrec.training import distributed
from letterrec.training.optimizers import Optimizers

AFTER_EPOCH = 10.0  # seconds, at least, between checkpoints at the ends of epochs
WITHIN_EPOCH = 180.0  # seconds of training that a killed run loses at most

_FILE = "checkpoint.safetensors"
_DAMAGE = (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError)


class Stateful(Protocol):
    """State outside the module that changes within an epoch, as values that JSON can hold."""

    def state_dict(self) -> dict[str, Any]:
        """The state now."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state."""


@dataclass
class TrainingLog:
    """The log of a training: one entry per epoch, and which of them was best.

    Attributes:
        epochs: per epoch its number, mean losses, validation metrics and seconds.
        best_epoch: the epoch whose weights the module holds now.
        best: its value of the criterion; NaN where nothing was validated.
        seconds: of training, including those before it was resumed.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    best: float = math.nan
    seconds: float = 0.0


@dataclass
class Position:
    """Progress within an epoch.

    Attributes:
        step: batches that are done.
        sums: of their losses, in this process.
        seconds: spent on this epoch before it was resumed.
        state: this process's random states and those of `Stateful`, to be set before the next
            batch; None at the start of an epoch, or where other processes take part than before.
    """

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    state: dict[str, Any] | None = None


def _random_states(stateful: Stateful | None) -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "torch": torch.get_rng_state().numpy().tobytes().hex(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state().numpy().tobytes().hex()
    if stateful is not None:
        states["own"] = stateful.state_dict()
    return states


def _set_random_states(states: Mapping[str, Any], stateful: Stateful | None) -> None:
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(_bytes(states["torch"]))
    if torch.cuda.is_available() and "cuda" in states:
        torch.cuda.set_rng_state(_bytes(states["cuda"]))
    if stateful is not None:
        stateful.load_state_dict(states["own"])


def _bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """The trained parameters and the buffers; frozen parameters are loaded from their model."""
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    return {name: t for name, t in module.state_dict().items() if name not in frozen}


class Checkpoint:
    """The checkpoint in ``folder/checkpoint.safetensors``; without a folder, none is kept."""

    def __init__(
        self,
        module: nn.Module,
        optimizer: Optimizers,
        folder: Path | None,
        stateful: Stateful | None,
    ) -> None:
        self._module, self._optimizer, self._stateful = module, optimizer, stateful
        self._path = folder / _FILE if folder else None
        self._began = time.monotonic()
        self._saved_at = -math.inf

    def save(self, log: TrainingLog, best: Mapping[str, Tensor], now: bool = False) -> None:
        """Write it at the end of an epoch, unless the last one is only seconds old; of several
        processes the main one calls this.
        """
        if now or time.monotonic() - self._saved_at >= AFTER_EPOCH:
            self._write(log, best, None)

    def save_within(
        self,
        log: TrainingLog,
        best: Mapping[str, Tensor],
        position: Position,
        every: float | None = None,
    ) -> None:
        """Write it within an epoch if the last one is old enough.

        All processes call this, for each has a state to be kept; the main one writes.

        Args:
            log: as it is after the epochs before.
            best: the best weights so far.
            position: how far this epoch is; its ``seconds`` are those up to now.
            every: seconds, at least, since the last one; None for `WITHIN_EPOCH`.
        """
        if self._path is None:
            return
        age = time.monotonic() - max(self._saved_at, self._began)
        is_due = torch.tensor([float(age >= (WITHIN_EPOCH if every is None else every))])
        distributed.keep_largest(is_due)
        if is_due:
            mine = json.dumps({"sums": position.sums, **_random_states(self._stateful)})
            states = [json.loads(state) for state in distributed.gather(mine)]
            within = {"step": position.step, "seconds": position.seconds, "processes": states}
            self._saved_at = time.monotonic()
            if distributed.is_main():
                self._write(log, best, within)

    def _write(
        self, log: TrainingLog, best: Mapping[str, Tensor], within: dict[str, Any] | None
    ) -> None:
        self._saved_at = time.monotonic()
        if self._path is None:
            return
        state = self._optimizer.state()
        tensors = {f"module/{k}": v for k, v in weights_of(self._module).items()}
        tensors |= {f"best/{k}": v for k, v in best.items()}
        tensors |= {f"optimizer/{i}/{k}": v for i, s in state.items() for k, v in s.items()}
        write_tensors(self._path, tensors, {"log": vars(log), "within": within})

    def load(self) -> tuple[TrainingLog, dict[str, Tensor], Position]:
        """Put the checkpoint's state into module and optimizer; a fresh log where there is none.

        Raises:
            RunError: it is damaged, or of another network.
        """
        if self._path is None or not self._path.exists():
            return TrainingLog(), {}, Position()
        tensors, about = read_tensors(self._path)
        parts: dict[str, dict[str, Tensor]] = {"module": {}, "best": {}, "optimizer": {}}
        try:
            for name, tensor in tensors.items():
                part, _, key = name.partition("/")
                parts[part][key] = tensor.clone()
            expected = {k: v.shape for k, v in weights_of(self._module).items()}
            if expected != {k: v.shape for k, v in parts["module"].items()}:
                raise RunError(
                    f"{self._path} was written by a network of other shape; "
                    "go on with the settings it was begun with, or delete it"
                )
            self._module.load_state_dict(parts["module"], strict=False)
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in parts["optimizer"].items():
                index, _, key = name.partition("/")
                state.setdefault(int(index), {})[key] = tensor
            self._optimizer.load(state)
            return TrainingLog(**about["log"]), parts["best"], _position(about.get("within"))
        except _DAMAGE as error:
            raise self._damaged(error) from None

    def restore(self, position: Position) -> None:
        """Restore the random states and that of `Stateful`.

        Raises:
            RunError: they are damaged.
        """
        assert position.state is not None
        try:
            _set_random_states(position.state, self._stateful)
        except _DAMAGE as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> RunError:
        return RunError(
            f"{self._path} is damaged ({type(error).__name__}: {short(error, 200)}); delete it to "
            "train this part again, with fit --resume"
        )


def read_log(folder: Path) -> TrainingLog:
    """The log of a training, from the checkpoint in its folder.

    Raises:
        RunError: there is no checkpoint, or it is damaged.
    """
    path = folder / _FILE
    with refuse_damaged(path):
        return TrainingLog(**read_metadata(path)["log"])


def _position(within: dict[str, Any] | None) -> Position:
    if within is None:  # the end of an epoch; older versions kept no other checkpoints
        return Position()
    states, rank = within["processes"], distributed.rank()
    mine = dict(states[rank]) if rank < len(states) else {"sums": {}}
    sums = mine.pop("sums")
    state = mine if len(states) == distributed.count() else None
    return Position(int(within["step"]), sums, float(within["seconds"]), state)
