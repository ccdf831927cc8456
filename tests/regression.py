"""A small regression to train, for tests of the training loop and of its checkpoints."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from conftest import Cut
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.devices import set_seed
from letterrec.training.loop import batches_by_length, train
from letterrec.training.options import TrainingOptions

EPOCHS = 5


class Net(nn.Module):
    """A small regression with dropout: its result depends on every random state."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, width), nn.Dropout(0.3), nn.GELU(), nn.Linear(width, 1)
        )
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        self.seen += len(x)
        error = (self.layers(x)[:, 0] - y).square().mean()
        return {"loss": error, "half": error / 2}


ORDER = TrainingOptions(batch_size=16, seed=7)


def fitted(
    folder: Path | None = None, epochs: int = EPOCHS, width: int = 8, **changes: Any
) -> tuple[Net, TrainingLog]:
    set_seed(7)
    x = torch.randn(64, 3)
    y = x.sum(1)
    net = Net(width)

    def validate() -> dict[str, float]:
        assert not net.training
        assert not torch.is_grad_enabled()
        return {"ndcg@10": -float((net.layers(x)[:, 0] - y).square().mean())}

    names = {field.name for field in fields(TrainingOptions)}
    own = {name: value for name, value in changes.items() if name in names}
    settings: dict[str, Any] = {
        "batches": lambda epoch: batches_by_length(np.ones(64), ORDER, epoch),
        "collate": lambda rows: (x[rows], y[rows]),
        "validate": validate,
        "options": TrainingOptions(
            **{"epochs": epochs, "learning_rate": 0.05, "seed": 7, "folder": folder} | own
        ),
    }
    log = train(net, **settings | {k: v for k, v in changes.items() if k not in names})
    return net, log


def state(net: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in net.state_dict().items()}


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def told(log: TrainingLog) -> list[dict[str, float]]:
    """The log without its times."""
    return [{k: v for k, v in e.items() if k != "seconds"} for e in log.epochs]


def cut_at(epoch: int) -> Any:
    def before_epoch(e: int) -> None:
        if e == epoch:
            raise Cut

    return before_epoch
