"""What the server tells its operators: Prometheus metrics and one JSON line per event.

Neither holds anything about a person: no users, no histories, no addresses, no query strings; a
request is known by its route, and by an id of its own.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TextIO

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
    values,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_LINES = 10_000  # that may be pending
_AT_ONCE = 4096  # bytes that reach a pipe in one piece, whoever else writes to it
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # where processes that count together keep their counts
log = logging.getLogger("letterrec.serving")


def count_together(folder: str) -> None:
    """Have the metrics that are made from now on count in files of a folder, together with those of
    the other processes that are forked from this one.
    """
    os.environ[METRICS_FOLDER] = folder
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]


class Gauges(NamedTuple):
    """What a model is at the moment."""

    model: str
    run: str
    generation: int
    items: dict[str, int]  # by state
    waiting: int
    share: float


class ServerMetrics:
    """The server's metrics, in a registry of their own.

    Where the environment names a folder for it, the processes of a server count together in files
    there; each then answers for all.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._of_all: CollectorRegistry | None = None
        made: dict[str, Any] = {"registry": self.registry}
        if METRICS_FOLDER in os.environ:
            made = {"registry": None}
            self._of_all = CollectorRegistry()
            MultiProcessCollector(self._of_all)  # type: ignore[no-untyped-call]
        else:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "letterrec_requests", "Requests answered", ("route", "method", "status"), **made
        )
        self.seconds = Histogram(
            "letterrec_request_seconds",
            "From the request's arrival until its answer is ready to be sent",
            ("route",),
            buckets=_SECONDS,
            **made,
        )
        self.batches = Histogram(
            "letterrec_batch_size", "Queries answered by one search", buckets=_SIZES, **made
        )
        self.search_seconds = Histogram(
            "letterrec_search_seconds", "Duration of one search", buckets=_SECONDS, **made
        )
        self.answers = Counter(
            "letterrec_recommendations", "Lists recommended", ("model", "run"), **made
        )
        self.reloads = Counter(
            "letterrec_reloads", "Reloads and rollbacks of runs", ("result",), **made
        )

    def show(self, gauges: Collector) -> None:
        """Also show what is looked up when the metrics are asked for."""
        self.registry.register(gauges)

    def batch(self, size: int, seconds: float) -> None:
        """Count one search."""
        self.batches.observe(size)
        self.search_seconds.observe(seconds)

    def refused(self, status: int) -> None:
        """Count what was refused before it was a complete request."""
        self.requests.labels("unmatched", "", status).inc()
        event("refused", status=status)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        of_all = b"" if self._of_all is None else generate_latest(self._of_all)
        return generate_latest(self.registry) + of_all


def gauges_of(models: Sequence[Gauges]) -> Iterator[Metric]:
    """The gauges of what is served; they name the model where there are several."""
    label = ["model"] if len(models) > 1 else []

    def family(name: str, words: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(name, words, labels=[*label, *labels])

    waiting = family("letterrec_queue_length", "Queries that wait")
    items = family("letterrec_items", "Items of the catalogue", "state")
    generation = family("letterrec_catalogue_generation", "Edits of the catalogue since training")
    run = GaugeMetricFamily(
        "letterrec_run_info", "Share of the requests by model and run", labels=["model", "run"]
    )
    for model in models:
        name = [model.model] if label else []
        waiting.add_metric(name, model.waiting)
        generation.add_metric(name, model.generation)
        run.add_metric([model.model, model.run], model.share)
        for state, count in model.items.items():
            items.add_metric([*name, state], count)
    yield from (waiting, items, generation, run)


def event(name: str, level: int = logging.INFO, /, **fields: object) -> None:
    """Log an event with its fields, at a level of `logging`: warnings and errors are for someone
    to look at.
    """
    log.log(level, name, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """One JSON object per record.

    Args:
        fields: that every line has.
    """

    def __init__(self, fields: dict[str, object] | None = None) -> None:
        super().__init__()
        self._fields = fields or {}

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= self._fields
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class Writer(logging.Handler):
    """Writes log records on a thread of its own, all pending ones at once.

    A slow terminal or pipe does not delay requests: logging blocks only while `_LINES` records are
    pending.

    Args:
        stream: that they are written to.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._waiting: list[logging.LogRecord] = []
        self._writing = False
        self._changed = threading.Condition()
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record over."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < _LINES)
            self._waiting.append(record)
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until all is written, for a second at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._writing, 1.0)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                records, self._waiting, self._writing = self._waiting, [], True
            with suppress(OSError, ValueError):  # whoever read it is gone
                self._write_lines([f"{self.format(record)}\n" for record in records])

    def _write_lines(self, lines: list[str]) -> None:
        """Write lines, several at once but never a part of one, since others may write there."""
        piece = ""
        for line in [*lines, ""]:
            if not line or len(piece) + len(line) > _AT_ONCE:
                self._stream.write(piece)
                self._stream.flush()
                piece = ""
            piece += line


def log_to_stderr(at_once: bool = False, **fields: object) -> None:
    """Send the server's events, and uvicorn's, to stderr as JSON lines.

    Args:
        at_once: write each line when it is logged, without a thread.
        fields: that every line has.
    """
    handler = logging.StreamHandler(sys.stderr) if at_once else Writer(sys.stderr)
    handler.setFormatter(JsonLines(fields))
    for name in ("letterrec.serving", "uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.access").disabled = True
