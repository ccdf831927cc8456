"""The connection to a Ray cluster, by the words of ``--ray``: ``auto``, ``local`` or an address."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from letterrec.cluster.workers import RayWorkers
from letterrec.errors import MissingExtra, RequestError, short
from letterrec.processes import jobs

_PATIENCE = 10.0  # seconds until an address counts as out of reach


@contextmanager
def connected(address: str, folder: Path, workers: int | None = None) -> Iterator[None]:
    """Inside the block a Ray cluster does the parts of what this thread does.

    Args:
        address: ``HOST:PORT`` of a running cluster; ``auto``, the one that runs on this machine
            (or that ``RAY_ADDRESS`` names); or ``local``, one that is started here for the time
            of the block.
        folder: where parts may leave files for one another; all machines see it.
        workers: how many processes work at a time; None: one for every GPU of the cluster, or
            for every CPU where it has none.

    Raises:
        MissingExtra: Ray is not installed.
        RequestError: there is no such cluster.
    """
    _check(address)
    try:
        # Neither reports its use to anybody, nor shows bars beside our own.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
        import ray
        import ray.data
        import ray.train
    except ImportError:
        raise MissingExtra("ray", "ray") from None
    try:
        ray.init(
            address,
            include_dashboard=False if address == "local" else None,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise RequestError(
            f"--ray {address}: no Ray cluster can be joined ({short(error, 200)}); "
            "start one with: ray start --head, or give --ray local"
        ) from None
    try:
        _quieten()
        with jobs.done_by(RayWorkers(workers, folder.absolute())):
            yield
    finally:
        ray.shutdown()


def _quieten() -> None:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what is lost is told by us


def _check(address: str) -> None:
    """Refuse an address at which nothing listens, sooner than Ray would.

    Raises:
        RequestError: so it is, or it is no address.
    """
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "://" in address:
        raise RequestError(
            f"--ray {address}: expected auto, local, or HOST:PORT of the cluster's head, as in "
            "10.0.0.1:6379"
        )
    problem = "no such host"
    with suppress(OverflowError):
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
            return
        except OSError as error:
            problem = error.strerror or str(error)
    raise RequestError(
        f"--ray {address}: nothing answers there ({problem.lower()}); start a cluster with: "
        "ray start --head, or give --ray local"
    )
