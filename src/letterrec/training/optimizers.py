"""What moves the weights: AdamW, and for large embedding tables Adam on the rows of a batch alone.

A table of a million items is hardly touched by a batch. Where its layer asks for sparse gradients
(``nn.Embedding(sparse=True)``), a step costs what the rows of the batch cost, not what the table
does; what is remembered of other rows waits ("lazy Adam", `torch.optim.SparseAdam`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from letterrec.training import distributed
from letterrec.training.options import TrainingOptions

_BETAS = (0.0, 0.999)  # of tables: momentum would wait for the next batch that touches a row
State = dict[int, dict[str, Tensor]]  # number of the parameter -> name -> tensor


class Optimizers:
    """AdamW that decays matrices, and not biases and norms, beside `SparseAdam` of the tables.

    Args:
        module: whose trainable parameters are moved.
        options: the highest learning rate, weight decay and largest norm of the gradient.
    """

    def __init__(self, module: nn.Module, options: TrainingOptions) -> None:
        embeddings = [m for m in module.modules() if isinstance(m, nn.Embedding) and m.sparse]
        self._tables = [m.weight for m in embeddings]
        trainable = [p for p in module.parameters() if p.requires_grad]
        self._dense = [p for p in trainable if not any(p is table for table in self._tables)]
        groups = [
            {
                "params": [p for p in self._dense if p.ndim >= 2],
                "weight_decay": options.weight_decay,
            },
            {"params": [p for p in self._dense if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._clip = options.clip or math.inf
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)
        ]
        if self._tables:
            rate = options.learning_rate
            self._parts.append(torch.optim.SparseAdam(self._tables, lr=rate, betas=_BETAS))

    @property
    def has_tables(self) -> bool:
        """Whether tables are moved by the rows of a batch alone."""
        return bool(self._tables)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the steps to come."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate

    def average_gradients(self) -> None:
        """Replace gradients by their means over the processes that train together."""
        if distributed.count() == 1:
            return
        for parameter in self._dense:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        distributed.average([p.grad for p in self._dense if p.grad is not None])
        for table in self._tables:
            if table.grad is not None:
                table.grad = distributed.average_rows(table.grad)

    def clip_gradients(self) -> Tensor:
        """Scale the gradients down where they are longer than allowed; their norm before."""
        if not self._tables:
            return nn.utils.clip_grad_norm_(self._dense, self._clip)
        gradients = [p.grad for p in self._dense if p.grad is not None]
        for table in self._tables:
            if table.grad is not None:
                table.grad = table.grad.coalesce()  # one entry per row
                gradients.append(table.grad._values())
        norm = nn.utils.get_total_norm(gradients)
        torch._foreach_mul_(gradients, (self._clip / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def step(self) -> None:
        """Move the weights against the gradients, and forget these."""
        for part in self._parts:
            part.step()
            part.zero_grad(set_to_none=True)

    def state(self) -> State:
        """What the optimizers remember, by the number of the parameter."""
        numbered: State = {}
        first = 0
        for part in self._parts:
            for i, state in part.state_dict()["state"].items():
                numbered[first + i] = {k: torch.as_tensor(v) for k, v in state.items()}
            first += len(self._dense)
        return numbered

    def load(self, numbered: Mapping[int, dict[str, Tensor]]) -> None:
        """Go back to a `state`."""
        first, counts = 0, (len(self._dense), len(self._tables))
        for part, count in zip(self._parts, counts, strict=False):
            state: dict[int, dict[str, Any]] = {
                i - first: dict(numbered[i]) for i in range(first, first + count) if i in numbered
            }
            if isinstance(part, torch.optim.SparseAdam):  # which counts steps in a Python number
                state = {i: {**s, "step": int(s["step"])} for i, s in state.items()}
            groups = part.state_dict()["param_groups"]
            part.load_state_dict({"state": state, "param_groups": groups})
            first += count
