"""Several threads that take the steps of a training together, each with a share of every batch.

A core that takes its share from the first operator to the last gets more done than all cores on
one operator after the other, of which many are small or run on one core: on two cores, `tiger`
trains 1.2 times as fast.

Every thread has a random state of its own; what is random in a module that is trained this way must
come from `nn.random.draw_seed`, or the same seed would not give the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from letterrec.nn.random import draw_seed, use_generator
from letterrec.training.devices import device, has_bfloat16

Collate = Callable[[NDArray[np.int64]], tuple[Tensor, ...]]
Parts = dict[str, Tensor]
_ROWS = 64  # the smallest share: below it, adding up gradients costs more than it saves


class Team:
    """Threads that share batches, with PyTorch's own threads divided among them.

    A context manager: the threads end with it.

    Args:
        rows: of a batch; one thread for every 64, at most as many as PyTorch has.
    """

    def __init__(self, rows: int) -> None:
        self._device, self._in_bfloat16 = device(), has_bfloat16()  # asked once, not at every step
        self._threads = torch.get_num_threads()
        self._members = max(1, min(self._threads, rows // _ROWS))
        share = self._threads // self._members
        self._pool = ThreadPoolExecutor(self._members, "train", torch.set_num_threads, (share,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()
        torch.set_num_threads(self._threads)  # members have set it for threads to come, too

    def backward(
        self, module: nn.Module, collate: Collate, rows: NDArray[np.int64], weight: float
    ) -> Parts:
        """Set the gradients of the mean loss of a batch, times ``weight``.

        Gradients are added in the order of the members, so that the same run gives the same bits.

        Args:
            module: ``module(*collate(rows))`` returns ``{"loss": scalar, other parts: scalars}``.
            collate: row numbers -> tensors.
            rows: those of the batch, at least one.
            weight: of the loss.

        Returns:
            The mean parts, detached.
        """
        members = min(self._members, len(rows) // _ROWS)
        if members <= 1:
            parts = self._forward(module, collate, rows)
            (parts["loss"] * weight).backward()  # type: ignore[no-untyped-call]
            return {name: part.detach() for name, part in parts.items()}
        trained = [p for p in module.parameters() if p.requires_grad]

        def work(member: int, seed: int) -> tuple[tuple[Tensor, ...], Parts]:
            use_generator(torch.Generator().manual_seed(seed))
            mine = rows[member::members]
            share = len(mine) / len(rows)
            parts = self._forward(module, collate, mine)
            loss = parts["loss"] * (weight * share)
            gradients = torch.autograd.grad(loss, trained, materialize_grads=True)
            return gradients, {name: share * part.detach() for name, part in parts.items()}

        seeds = [draw_seed() for _ in range(members)]
        (total, sums), *others = self._pool.map(work, range(members), seeds)
        for gradients, parts in others:
            torch._foreach_add_(total, gradients)
            sums = {name: part + parts[name] for name, part in sums.items()}
        for parameter, gradient in zip(trained, total, strict=True):
            parameter.grad = gradient
        return sums

    def _forward(self, module: nn.Module, collate: Collate, rows: NDArray[np.int64]) -> Parts:
        tensors = (t.to(self._device, non_blocking=True) for t in collate(rows))
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._in_bfloat16):
            parts: Parts = module(*tensors)
        return parts
