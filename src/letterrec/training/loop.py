"""The one training loop: seeds, devices, precision, schedule, resume, progress.

Every network of LetterRec (SASRec, tokenizers, recommenders) is trained by `train`. Nothing else
knows of seeds, devices or precision. What a batch is and what is lost on it belongs to the network,
what a checkpoint holds to `checkpoints`.

Runs are repeatable by construction: the random state is set anew at the start of every epoch, from
the seed and the epoch alone, and checkpoints within an epoch hold it as it is. A run that resumes
from its last checkpoint therefore takes exactly the steps that an uninterrupted run takes.

Where several processes train together, each takes its share of every batch; their gradients are
averaged, so that all hold the same weights, and checkpoints are those of a single process.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from letterrec.errors import SettingsError
from letterrec.progress import counting
from letterrec.training import checkpoints, distributed
from letterrec.training.checkpoints import Checkpoint, Position, Stateful, TrainingLog, weights_of
from letterrec.training.threads import Team

Rows = NDArray[np.int64]


def set_seed(seed: int, *salt: int) -> None:
    """Set every random state from a seed and further numbers (an epoch, a stage)."""
    mixed = int(np.random.SeedSequence([seed, *salt]).generate_state(1)[0])
    random.seed(mixed)
    np.random.seed(mixed)  # noqa: NPY002  (libraries that draw from NumPy's global state)
    torch.manual_seed(mixed)


def device() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bfloat16() -> bool:
    """Whether bfloat16 is fast here: in hardware, not emulated.

    On a processor, oneDNN must be allowed the instructions, too: ``ONEDNN_MAX_CPU_ISA=AVX2`` in
    the environment makes it one without bfloat16.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def batches_by_length(
    lengths: NDArray[np.integer], batch_size: int, seed: int, epoch: int, at_least: int = 1
) -> list[Rows]:
    """Random batches of sequences of similar length, in random order.

    Args:
        lengths: ``(n,)`` length of each sequence.
        batch_size: sequences per batch; the last of the sorted order may be smaller.
        seed: with ``epoch``, decides the order.
        epoch: number of the epoch, from 0.
        at_least: batches wanted; a small data set is passed several times to make them, so that
            an epoch is some progress whatever the size of the data.

    Returns:
        Batches of row numbers; each pass holds each row once.
    """
    random_state = np.random.default_rng([seed, epoch])
    batches: list[Rows] = []
    while len(lengths) and len(batches) < at_least:
        shuffled = random_state.permutation(len(lengths))
        ordered = shuffled[np.argsort(np.asarray(lengths)[shuffled], kind="stable")]
        one_pass = [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
        batches += [one_pass[i] for i in random_state.permutation(len(one_pass))]
    return batches


def train(
    module: nn.Module,
    *,
    batches: Callable[[int], Sequence[Rows]],
    collate: Callable[[Rows], tuple[Tensor, ...]],
    epochs: int,
    learning_rate: float,
    weight_decay: float = 0.01,
    warmup: float = 0.05,
    clip: float = 1.0,
    patience: int = 5,
    validate: Callable[[], Mapping[str, float]] | None = None,
    criterion: str = "loss",
    every: int = 1,
    before_epoch: Callable[[int], None] | None = None,
    stateful: Stateful | None = None,
    seed: int = 0,
    folder: Path | None = None,
    label: str = "training",
    in_threads: bool = False,
) -> TrainingLog:
    """Train ``module`` and leave the best weights seen in it.

    Args:
        module: ``module(*collate(rows))`` returns ``{"loss": scalar, other parts: scalars}``.
        batches: epoch -> batches of row numbers; their count is that of epoch 0 for the schedule.
        collate: row numbers -> the tensors that ``module`` takes.
        epochs: passes at most; the rate rises linearly over the share ``warmup`` of all steps
            and then falls to 0 along a cosine.
        learning_rate: of AdamW, at its highest.
        weight_decay: of AdamW, for matrices; vectors (biases, norms) are not decayed.
        warmup: share of the steps.
        clip: largest norm of the gradient.
        patience: validations without gain after which training stops.
        validate: metrics of the module as it is (called in eval mode, without gradients).
        criterion: the metric that selects the weights, higher is better. Without ``validate``
            the last epoch's weights stay.
        every: epochs between validations.
        before_epoch: called with the epoch's number, random state already set; not where an epoch
            is resumed.
        stateful: what ``before_epoch`` sets, or batches change, beside the module and the global
            random states; kept in checkpoints within an epoch.
        seed: decides every random choice.
        folder: where checkpoints and TensorBoard events go; None keeps nothing. A checkpoint
            found there is resumed.
        label: shown with the progress.
        in_threads: on a processor, let threads take shares of large batches: for a loss that is a
            mean over rows, and a module whose random numbers come from `threads.draw_seed`.

    Returns:
        The log of the epochs.
    """
    precision = "bf16" if has_bfloat16() else "no"
    accelerator = Accelerator(mixed_precision=precision, cpu=device().type == "cpu")
    module.to(accelerator.device)
    trainable = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=learning_rate,
        fused=True,
    )
    checkpoint = Checkpoint(module, optimizer, folder, stateful)
    log, best_weights, position = checkpoint.load()
    is_main = distributed.rank() == 0
    writer = _event_writer(folder, len(log.epochs)) if is_main else None

    first = batches(0)
    steps_per_epoch = len(first)
    shared = len(first[0]) if in_threads and accelerator.device.type == "cpu" else 0
    total = steps_per_epoch * epochs
    with counting(label, total) as counter, Team(shared, accelerator) as team:
        counter.advance(steps_per_epoch * len(log.epochs) + position.step)
        for epoch in range(len(log.epochs), epochs):
            if _is_over(log, patience, every):
                break
            started = time.perf_counter() - position.seconds
            salt = [position.step] if position.step else []
            set_seed(seed, epoch, *([distributed.rank()] if distributed.rank() else []), *salt)
            if before_epoch is not None and position.state is None:
                module.eval()
                before_epoch(epoch)
            module.train()
            rows_of_epoch = batches(epoch)
            if position.state is not None:
                checkpoint.restore(position)
            sums = position.sums
            for i, rows in enumerate(rows_of_epoch[position.step :], start=position.step):
                step = epoch * steps_per_epoch + i
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * _rate(step, total, warmup)
                mine, weight = _share(rows)
                parts = team.backward(module, collate, mine, weight)
                _average_gradients(trainable)
                norm = accelerator.clip_grad_norm_(trainable, clip)
                _check_finite(label, learning_rate, epoch, i, parts["loss"], norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                for name, part in parts.items():
                    sums[name] = sums.get(name, 0.0) + weight * float(part)
                counter.advance(1)
                position = Position(i + 1, sums, time.perf_counter() - started)
                checkpoint.save_within(log, best_weights, position)
            is_validated = validate is not None and (
                (epoch + 1) % every == 0 or epoch + 1 == epochs
            )
            if is_validated:  # which may take long
                checkpoint.save_within(log, best_weights, position, checkpoints.AFTER_EPOCH)
            entry: dict[str, float] = {"epoch": epoch}
            means = torch.tensor(list(sums.values()), dtype=torch.float64) / len(rows_of_epoch)
            distributed.average([means])
            entry |= dict(zip(sums, means.tolist(), strict=True))
            if validate is not None and is_validated:
                module.eval()
                with torch.no_grad():
                    metrics = validate()
                entry |= {f"valid/{k}": float(v) for k, v in metrics.items()}
                value = float(metrics[criterion])
                if math.isnan(log.best) or value > log.best:
                    log.best, log.best_epoch = value, epoch
                    best_weights = {k: v.detach().clone() for k, v in weights_of(module).items()}
            entry["seconds"] = time.perf_counter() - started
            log.seconds += entry["seconds"]
            log.epochs.append(entry)
            position = Position()
            counter.advance(0, _note(entry, criterion))
            if writer is not None:
                for name, number in entry.items():
                    writer.add_scalar(name, number, epoch)
            if is_main:
                checkpoint.save(log, best_weights)
    if validate is None:
        log.best_epoch = len(log.epochs) - 1
    if writer is not None:
        writer.close()
    if is_main:
        checkpoint.save(log, best_weights, now=True)
    module.load_state_dict(best_weights, strict=False)
    module.eval()
    return log


def _share(rows: Rows) -> tuple[Rows, float]:
    """The rows of a batch that are this process's, and their weight in the mean over processes."""
    count = distributed.count()
    mine = rows[distributed.rank() :: count]
    if len(mine) == 0:  # all must take a step, if only for the sake of the others
        return rows[:1], 0.0
    return mine, len(mine) * count / len(rows)


def _average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    if distributed.count() > 1:
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        distributed.average([p.grad for p in parameters if p.grad is not None])


def _check_finite(
    label: str, learning_rate: float, epoch: int, batch: int, loss: Tensor, norm: Tensor
) -> None:
    for name, value in (("loss", float(loss)), ("gradient norm", float(norm))):
        if not math.isfinite(value):
            raise SettingsError(
                f"{label}: the {name} became {value} in epoch {epoch + 1}, batch {batch + 1}, "
                f"with learning_rate = {learning_rate:g}; lower learning_rate or raise warmup"
            )


def _rate(step: int, total: int, warmup: float) -> float:
    """Share of the full learning rate at a step: linear rise, then a cosine to 0."""
    rise = max(1, round(total * warmup))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def _is_over(log: TrainingLog, patience: int, every: int) -> bool:
    return not math.isnan(log.best) and (len(log.epochs) - 1 - log.best_epoch) // every >= patience


def _note(entry: Mapping[str, float], criterion: str) -> str:
    note = f"loss {entry['loss']:.4f}"
    if f"valid/{criterion}" in entry:
        note += f", valid {criterion} {entry[f'valid/{criterion}']:.4f}"
    return note


def _event_writer(folder: Path | None, first_epoch: int) -> Any:
    if folder is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"), purge_step=first_epoch)
