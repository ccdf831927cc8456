"""What the server tells its operators: Prometheus metrics and one JSON line per event.

Neither holds anything about a person: no ids, no histories, no addresses, no query strings; a
request is known by its route.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys
import threading
from contextlib import suppress
from typing import Any, TextIO

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_LINES = 10_000  # that may be pending
log = logging.getLogger("letterrec.serving")


class ServerMetrics:
    """The server's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry}
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
        self.waiting = Gauge("letterrec_queue_length", "Queries that wait", **made)
        self.items = Gauge("letterrec_items", "Items of the catalogue", ("state",), **made)
        self.generation = Gauge(
            "letterrec_catalogue_generation", "Edits of the catalogue since training", **made
        )
        self.reloads = Counter("letterrec_reloads", "Reloads of the run", ("result",), **made)

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
        return generate_latest(self.registry)


def event(name: str, **fields: object) -> None:
    """Log an event with its fields."""
    log.info(name, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
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
                self._stream.write("".join(f"{self.format(record)}\n" for record in records))
                self._stream.flush()


def log_to_stderr() -> None:
    """Send the server's events, and uvicorn's, to stderr as JSON lines."""
    handler = Writer(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("letterrec.serving", "uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.access").disabled = True
