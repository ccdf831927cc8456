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
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from letterrec.processes.memory import Growth
from letterrec.progress import Counter, counting
from letterrec.training import checkpoints, distributed, rehearsal
from letterrec.training.checkpoints import Checkpoint, Position, Stateful, TrainingLog, weights_of
from letterrec.training.devices import device
from letterrec.training.optimizers import Optimizers
from letterrec.training.options import TrainingOptions
from letterrec.training.rehearsal import Rehearsal
from letterrec.training.steps import Rows, Stepper, begin_epoch, validated
from letterrec.training.threads import Team

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def batches_by_length(
    lengths: NDArray[np.integer], options: TrainingOptions, epoch: int, at_least: int = 1
) -> list[Rows]:
    """Random batches of sequences of similar length, in random order.

    Args:
        lengths: ``(n,)`` length of each sequence.
        options: sequences per batch (the last of the sorted order may be smaller), and the seed,
            which decides the order with the epoch.
        epoch: number of the epoch, from 0.
        at_least: batches wanted; a small data set is passed several times to make them, so that
            an epoch is some progress whatever the size of the data.

    Returns:
        Batches of row numbers; each pass holds each row once.
    """
    random_state = np.random.default_rng([options.seed, epoch])
    batches: list[Rows] = []
    while len(lengths) and len(batches) < at_least:
        shuffled = random_state.permutation(len(lengths))
        size = options.batch_size
        ordered = shuffled[np.argsort(np.asarray(lengths)[shuffled], kind="stable")]
        one_pass = [ordered[i : i + size] for i in range(0, len(ordered), size)]
        batches += [one_pass[i] for i in random_state.permutation(len(one_pass))]
    return batches


def random_batches(n: int, options: TrainingOptions, epoch: int, at_least: int = 1) -> list[Rows]:
    """Random batches whose sizes differ by one at most.

    Args:
        n: sequences.
        options: sequences per batch, at most, and the seed, which decides the order with the epoch.
        epoch: number of the epoch, from 0.
        at_least: batches wanted, as of `batches_by_length`.

    Returns:
        Batches of row numbers; each pass holds each row once.
    """
    random_state = np.random.default_rng([options.seed, epoch])
    batches: list[Rows] = []
    while n and len(batches) < at_least:
        batches += np.array_split(random_state.permutation(n), -(-n // options.batch_size))
    return batches


def train(
    module: nn.Module,
    *,
    batches: Callable[[int], Sequence[Rows]],
    collate: Callable[[Rows], tuple[Tensor, ...]],
    options: TrainingOptions,
    validate: Callable[[], Mapping[str, float]] | None = None,
    before_epoch: Callable[[int], None] | None = None,
    stateful: Stateful | None = None,
    label: str = "training",
    in_threads: bool = False,
) -> TrainingLog:
    """Train ``module`` and leave the best weights seen in it.

    Args:
        module: ``module(*collate(rows))`` returns ``{"loss": scalar, other parts: scalars}``.
        batches: epoch -> batches of row numbers; their count is that of epoch 0 for the schedule.
        collate: row numbers -> the tensors that ``module`` takes.
        options: how long, at which rate, from which seed; where checkpoints go.
        validate: metrics of the module as it is (called in eval mode, without gradients);
            ``options.criterion`` names the one that selects the weights. Without it the last
            epoch's weights stay.
        before_epoch: called with the epoch's number, random state already set; not where an epoch
            is resumed.
        stateful: what ``before_epoch`` sets, or batches change, beside the module and the global
            random states; kept in checkpoints within an epoch.
        label: shown with the progress.
        in_threads: on a processor, let threads take shares of large batches: for a loss that is a
            mean over rows, and a module whose random numbers come from `nn.random.draw_seed`.

    Returns:
        The log of the epochs.

    Raises:
        SettingsError: the loss or the gradient is no finite number any more.
    """
    module.to(device())
    optimizer = Optimizers(module, options)
    checkpoint = Checkpoint(module, optimizer, options.folder, stateful)
    log, best, position = checkpoint.load()
    keep = partial(checkpoint.save_within, log, best)
    first = batches(0)[: options.epoch_steps]
    steps = len(first)  # of an epoch
    end = options.epochs if options.stop is None else min(options.stop, options.epochs)
    left = range(len(log.epochs), end)
    shared = len(first[0]) if in_threads and device().type == "cpu" else 0
    with counting(label, steps * end) as counter, Team(shared) as team:
        counter.advance(steps * len(log.epochs) + position.step)
        stepper = Stepper(module, collate, optimizer, team, options, steps, label)
        if (trial := rehearsal.current()) is not None:
            left = range(0) if _is_over(log, options) else left
            return _rehearsed(trial, stepper, left, log, batches, validate, before_epoch)
        with _telling(options, len(log.epochs)) as tell:
            for epoch in left:
                if _is_over(log, options):
                    break
                started = time.perf_counter() - position.seconds
                begin_epoch(module, options.seed, epoch, position, before_epoch)
                rows = batches(epoch)[: options.epoch_steps]
                if position.state is not None:
                    checkpoint.restore(position)
                position = _run_epoch(stepper, rows, epoch, position, started, keep, counter)
                entry = {"epoch": epoch} | _means(position.sums, len(rows))
                if validate is not None and _is_validated(epoch, end, options):
                    keep(position, checkpoints.AFTER_EPOCH)  # validation may take long
                    entry |= _validate_and_keep_best(module, validate, options, epoch, log, best)
                entry["seconds"] = time.perf_counter() - started
                log.seconds += entry["seconds"]
                log.epochs.append(entry)
                position = Position()
                counter.advance(0, _note(entry, options.criterion))
                tell(entry)
                if distributed.is_main():
                    checkpoint.save(log, best)
    if validate is None:
        log.best_epoch = len(log.epochs) - 1
    if distributed.is_main():
        checkpoint.save(log, best, now=True)
    module.load_state_dict(best, strict=False)
    module.eval()
    return log


def _run_epoch(
    stepper: Stepper,
    batches: Sequence[Rows],
    epoch: int,
    position: Position,
    started: float,
    keep: Callable[[Position], None],
    counter: Counter,
) -> Position:
    """Take the steps of an epoch, or those that are left of it.

    Args:
        stepper: takes them.
        batches: all of the epoch's.
        epoch: its number, from 0.
        position: how far it is.
        started: when it began, on ``time.perf_counter``.
        keep: is told after each step how far the epoch is then.
        counter: counts the steps.

    Returns:
        The position at its end, with the sums of the parts of the loss.
    """
    sums, memory = position.sums, Growth()
    for i, rows in enumerate(batches[position.step :], start=position.step):
        for name, part in stepper.step(rows, epoch, i).items():
            sums[name] = sums.get(name, 0.0) + part
        counter.advance(1)
        if stepper.is_large:
            memory.bound()
        position = Position(i + 1, sums, time.perf_counter() - started)
        keep(position)
    return position


def _validate_and_keep_best(
    module: nn.Module,
    validate: Callable[[], Mapping[str, float]],
    options: TrainingOptions,
    epoch: int,
    log: TrainingLog,
    best: dict[str, Tensor],
) -> dict[str, float]:
    """Metrics for the log of an epoch; where they are the best so far, ``log`` says so, and
    ``best`` has copies of the weights.
    """
    metrics = validated(module, validate)
    value = float(metrics[options.criterion])
    if math.isnan(log.best) or value > log.best:
        log.best, log.best_epoch = value, epoch
        best.update({k: v.detach().clone() for k, v in weights_of(module).items()})
    return {f"valid/{k}": float(v) for k, v in metrics.items()}


@contextmanager
def _telling(
    options: TrainingOptions, first_epoch: int
) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """What tells TensorBoard and whoever else listens of each epoch's entry in the log.

    Of several processes the main one alone writes events.
    """
    has_events = options.events and options.folder is not None and distributed.is_main()
    writer = _event_writer(options.folder if has_events else None, first_epoch)

    def tell(entry: Mapping[str, float]) -> None:
        if writer is not None:
            for name, number in entry.items():
                writer.add_scalar(name, number, int(entry["epoch"]))
        if options.on_epoch is not None:
            options.on_epoch(entry)

    try:
        yield tell
    finally:
        if writer is not None:
            writer.close()


def _rehearsed(
    trial: Rehearsal,
    stepper: Stepper,
    left: range,
    log: TrainingLog,
    batches: Callable[[int], Sequence[Rows]],
    validate: Callable[[], Mapping[str, float]] | None,
    before_epoch: Callable[[int], None] | None,
) -> TrainingLog:
    """Take some steps of an early, a middle and a late epoch, and validate once; nothing is kept.

    Args:
        trial: is told how long all of it would take.
        stepper: takes the steps.
        left: the epochs to come.
        log: of those before.
        batches: as of `train`, like what follows.
        validate: see above.
        before_epoch: see above.
    """
    if not left:
        return log
    options, module, steps, stepped = stepper.options, stepper.module, 0, 0.0
    tried = sorted({left[0], left[len(left) // 2], left[-1]})
    started = trial.now()
    for epoch in tried:
        begin_epoch(module, options.seed, epoch, Position(), before_epoch)
        rows = batches(epoch)[: options.epoch_steps]
        begun = trial.now()
        for batch in trial.sample(rows):
            stepper.step(batch, 0, 0)
        steps, stepped = steps + len(rows), stepped + trial.now() - begun
    trial.skip((trial.now() - started) * (len(left) / len(tried) - 1))
    validations = sum(_is_validated(epoch, left.stop, options) for epoch in left)
    best = {name: weight.clone() for name, weight in weights_of(module).items()}  # as `train` has
    started = trial.now()
    if validate is not None:
        validated(module, validate)
    validation = trial.now() - started
    trial.skip(validation * (validations - 1))
    trial.trained(
        rehearsal.Training(
            label=stepper.label,
            epochs=len(left),
            steps=round(steps / len(tried) * len(left)),
            step_seconds=stepped / steps,
            validations=validations if validate is not None else 0,
            validation_seconds=validation,
            parameters=sum(p.numel() for p in module.parameters() if p.requires_grad),
            weights_bytes=sum(t.nbytes for t in module.state_dict().values()),
            optimizer_bytes=stepper.optimizer_bytes,
        )
    )
    module.load_state_dict(best, strict=False)
    module.eval()
    return TrainingLog([*log.epochs, {"epoch": left[-1], "loss": math.nan}], left[-1])


def _means(sums: Mapping[str, float], n_batches: int) -> dict[str, float]:
    """The means over the batches of an epoch, and over the processes."""
    means = torch.tensor(list(sums.values()), dtype=torch.float64) / n_batches
    distributed.average([means])
    return dict(zip(sums, means.tolist(), strict=True))


def _is_validated(epoch: int, end: int, options: TrainingOptions) -> bool:
    """Whether an epoch, of those below ``end``, is one after which the module is validated."""
    return epoch + 1 == end or (epoch + 1) % options.every == 0


def _is_over(log: TrainingLog, options: TrainingOptions) -> bool:
    """Whether validations without gain have used up the patience."""
    without_gain = (len(log.epochs) - 1 - log.best_epoch) // options.every
    return not math.isnan(log.best) and without_gain >= options.patience


def _note(entry: Mapping[str, float], criterion: str) -> str:
    note = f"loss {entry['loss']:.4f}"
    if f"valid/{criterion}" in entry:
        note += f", valid {criterion} {entry[f'valid/{criterion}']:.4f}"
    return note


def _event_writer(folder: Path | None, first_epoch: int) -> SummaryWriter | None:
    if folder is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"), purge_step=first_epoch)
