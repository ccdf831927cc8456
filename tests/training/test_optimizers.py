"""Large tables move where a batch touches them; everything else moves as ever."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from letterrec.training.checkpoints import Checkpoint, TrainingLog
from letterrec.training.loop import random_batches, train
from letterrec.training.optimizers import Optimizers
from letterrec.training.options import TrainingOptions

ROWS, DIM = 50, 4
OPTIONS = TrainingOptions(epochs=6, batch_size=4, learning_rate=0.05, warmup=0.0, seed=3)


class Scores(nn.Module):
    """Learns to give each row the sign of its number, which is all that is asked of a table."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(ROWS, DIM, sparse=sparse)
        self.out = nn.Linear(DIM, 1)

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        wanted = (rows % 2).float()
        score = self.out(self.table(rows))[:, 0]
        return {"loss": nn.functional.binary_cross_entropy_with_logits(score, wanted)}


def fit(model: Scores, options: TrainingOptions, rows: int = ROWS // 2) -> Scores:
    train(
        model,
        batches=lambda epoch: random_batches(rows, options, epoch),
        collate=lambda rows: (torch.from_numpy(rows),),
        options=options,
    )
    return model


def test_rows_that_no_batch_touches_stay() -> None:
    before = Scores(sparse=True).table.weight.detach().clone()
    after = fit(Scores(sparse=True), OPTIONS).table.weight.detach()
    moved = (before != after).any(1)
    assert moved[: ROWS // 2].all()
    assert not moved[ROWS // 2 :].any()


def test_what_is_learned_is_learned_either_way() -> None:
    rows = torch.arange(ROWS // 2)
    for sparse in (True, False):
        model = fit(Scores(sparse), replace(OPTIONS, epochs=40))
        assert float(model(rows)["loss"].detach()) < 0.3


def test_without_large_tables_it_is_adamw_to_the_last_bit() -> None:
    model, plain = Scores(sparse=False), Scores(sparse=False)
    ours = Optimizers(model, OPTIONS)
    groups = [
        {"params": [plain.table.weight, plain.out.weight], "weight_decay": OPTIONS.weight_decay},
        {"params": [plain.out.bias], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=OPTIONS.learning_rate, fused=True)
    for step in range(5):
        rows = torch.arange(step, step + 9)
        for one in (model, plain):
            one(rows)["loss"].backward()
        norm = ours.clip_gradients()
        assert torch.equal(norm, nn.utils.clip_grad_norm_(plain.parameters(), OPTIONS.clip))
        ours.step()
        adamw.step()
        adamw.zero_grad()
    for found, wanted in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(found, wanted)


def test_a_long_gradient_is_scaled_whole() -> None:
    model = Scores(sparse=True)
    (100 * model(torch.tensor([1, 1, 2]))["loss"]).backward()
    optimizers = Optimizers(model, OPTIONS)
    norm = optimizers.clip_gradients()
    assert norm > 1
    assert model.table.weight.grad is not None
    parts = [model.table.weight.grad.coalesce().values(), *(p.grad for p in model.out.parameters())]
    assert float(torch.cat([p.flatten() for p in parts if p is not None]).norm()) <= 1.0001


def test_a_checkpoint_holds_what_the_tables_remember(tmp_path: Path) -> None:
    model = Scores(sparse=True)
    optimizers = Optimizers(model, OPTIONS)
    rows = torch.arange(5)
    for _ in range(2):
        model(rows)["loss"].backward()
        optimizers.step()
    Checkpoint(model, optimizers, tmp_path, None).save(TrainingLog(), {}, now=True)
    other = Scores(sparse=True)
    again = Optimizers(other, OPTIONS)
    Checkpoint(other, again, tmp_path, None).load()
    for one, its in ((model, optimizers), (other, again)):
        one(rows)["loss"].backward()
        its.step()
    for found, wanted in zip(other.parameters(), model.parameters(), strict=True):
        assert torch.equal(found, wanted)


def test_an_epoch_of_large_data_is_a_part_of_it() -> None:
    options = replace(OPTIONS, most=40, epochs=5).sized(100)
    assert (options.epochs, options.epoch_steps) == (1, 10)
    seen: list[int] = []

    def collate(rows: np.ndarray) -> tuple[Tensor, ...]:
        seen.extend(rows.tolist())
        return (torch.from_numpy(rows % ROWS),)

    train(
        Scores(sparse=False),
        batches=lambda epoch: random_batches(100, options, epoch),
        collate=collate,
        options=options,
    )
    assert len(seen) == len(set(seen)) == 40
