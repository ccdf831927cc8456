"""A whole fit on a Ray cluster: parts by its processes, then training under Ray Train.

Ray Train starts the processes, connects them and starts them again where one is lost; in each, the
same `letterrec.fit` runs that `torchrun` would start. Checkpoints are those of the run, from which
training goes on exactly.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from letterrec import api
from letterrec.cluster.workers import reason_of, slots
from letterrec.config.settings import Settings
from letterrec.data import AnySource, Dataset, Frames, Sources, sources_of
from letterrec.errors import DataError, LetterRecError, RunError
from letterrec.processes import jobs
from letterrec.progress import say, shown
from letterrec.runs.run import Run
from letterrec.training.distributed import ProcessLost

_LOSSES = 5  # in a row, without a step forward between them, until the training gives up


@dataclass(frozen=True)
class _Fit:
    """What every process of a training calls `letterrec.fit` with.

    Attributes:
        source: as of `letterrec.fit`, with absolute paths.
        folder: of the run, which all machines see under this path.
        settings: of the run.
        threads: of PyTorch in each process; None: as many as it takes by itself.
    """

    source: AnySource
    folder: Path
    settings: Settings
    threads: int | None


def fit(
    source: AnySource,
    out: Path,
    settings: Settings,
    *,
    resume: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Run:
    """Make a recommender from a data source on the cluster that this process is `connected` to.

    Args:
        source: as of `letterrec.fit`; all machines see it under the same path.
        out: the run's folder, which all machines share.
        settings: of the run.
        resume: go on where a run in ``out`` stopped.
        workers: processes that train the recommender; None: one for every GPU of the cluster, or
            for every machine where it has none.
        progress: show on stderr what is being done.

    Returns:
        The finished run.

    Raises:
        LetterRecError: as `letterrec.fit`; or the cluster loses every process that it starts.
    """
    out = out.absolute()
    source = _absolute(source)
    run = api.fit(source, out, settings, resume, until="identifiers", progress=progress)
    if not run.is_done("evaluation"):
        with shown(progress):
            _train(source, run, workers)
    return Run.open(out)


def _absolute(source: AnySource) -> AnySource:
    """The same source or sources, with paths that mean the same in every process.

    Raises:
        DataError: a table in memory, which other processes do not see.
    """

    def one(given: str | Dataset | Frames) -> str | Dataset:
        if isinstance(given, Frames):
            raise DataError(
                "a table in memory was given to a cluster; expected a path that all its machines "
                "see: write the table as interactions.parquet there, or read it with letterrec.read"
            )
        if isinstance(given, str) and Path(given).exists():
            return str(Path(given).absolute())
        return given

    given = sources_of(source)
    if isinstance(given, Sources):
        return {name: one(each) for name, each in given.named.items()}
    return one(given)


def _train(source: AnySource, run: Run, workers: int | None) -> None:
    """Train and evaluate in as many processes; again from the latest checkpoint after a loss."""
    losses, before = 0, _progress(run)
    while True:
        count, threads = _sizes(workers)
        say(f"  {count} {'process' if count == 1 else 'processes'} of the cluster train")
        failures = _attempt(_Fit(source, run.folder, run.settings, threads), count)
        if not failures:
            return
        _raise_mistake(failures)
        reason = reason_of(failures[0])
        now = _progress(run)
        losses = losses + 1 if now == before else 1
        before = now
        if losses == _LOSSES:
            raise RunError(
                f"the cluster lost processes {losses} times before training got on ({reason}); see "
                "its logs, then go on with the same command and --resume"
            )
        say(f"  note: a process of the training is lost ({reason}): on from the latest checkpoint")


def _attempt(what: _Fit, count: int) -> list[Exception]:
    """Train with so many processes until all are done, or one is lost; why it was lost."""
    from ray.exceptions import RayError
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

    on_gpu = slots()[0] == "GPU"
    with jobs.scratch("training") as notes, _heard(notes / "said.txt") as said:
        trainer = TorchTrainer(
            _work,
            train_loop_config={"fit": what, "said": said},
            torch_config=TorchConfig("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout_s=86_400),
            scaling_config=ScalingConfig(
                num_workers=count, use_gpu=on_gpu, placement_strategy="SPREAD"
            ),
            run_config=RunConfig(
                storage_path=str(notes), failure_config=FailureConfig(max_failures=0)
            ),
        )
        try:
            trainer.fit()
        except WorkerGroupError as error:
            return list(error.worker_failures.values()) or [error]
        except ControllerError as error:
            return [error.controller_failure]
        except RayError as error:  # what starts the processes was lost itself
            return [error]
        return []


def _work(config: dict[str, Any]) -> None:
    """What each process of a training does; the main one writes down what it says."""
    import torch
    import torch.distributed as dist

    what: _Fit = config["fit"]
    if what.threads is not None:
        torch.set_num_threads(what.threads)
    log = logging.getLogger("letterrec")
    log.propagate = False
    if dist.get_rank() == 0:
        log.setLevel(logging.INFO)
        log.addHandler(logging.FileHandler(config["said"]))
    api.fit(what.source, what.folder, what.settings, resume=True, progress=False)


@contextmanager
def _heard(path: Path) -> Iterator[Path]:
    """While the block runs, say here what is written into a file there."""
    path.write_text("")
    over = threading.Event()

    def listen() -> None:
        with path.open() as file:
            while not over.wait(0.5):
                for line in file:
                    say(line.rstrip("\n"))

    listener = threading.Thread(target=copy_context().run, args=(listen,), daemon=True)
    listener.start()
    try:
        yield path
    finally:
        over.set()
        listener.join()


def _sizes(workers: int | None) -> tuple[int, int | None]:
    """How many processes train now, and how many threads each has."""
    import ray

    kind, free = slots()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    machines = len([node for node in nodes if node["Alive"]])
    wanted = workers or (free if kind == "GPU" else machines)
    count = max(1, min(wanted, free))
    if kind == "GPU":
        return count, None
    given = os.environ.get("OMP_NUM_THREADS")  # which Ray would set to 1
    return count, int(given) if given and given.isdigit() else max(1, free // count)


def _raise_mistake(failures: Sequence[Exception]) -> None:
    """Raise what is the user's to mend, rather than the loss of a process."""
    for failure in failures:
        cause = failure.__cause__ or failure
        if isinstance(cause, LetterRecError) and not isinstance(cause, ProcessLost):
            raise cause


def _progress(run: Run) -> tuple[int, int]:
    """Stages done, and when the latest checkpoint of the recommender was written (in ns)."""
    now = Run.open(run.folder)
    written = [p.stat().st_mtime_ns for p in now.checkpoints("recommender").glob("*.safetensors")]
    return len(now.about["stages"]), max(written, default=0)
