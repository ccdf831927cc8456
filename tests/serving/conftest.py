"""A real server, on loopback, with a real run."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from letterrec import api
from letterrec.serving.engine import Engine
from letterrec.serving.fleet import Fleet
from letterrec.serving.http.app import create_app
from letterrec.serving.http.lifecycle import uvicorn_config
from letterrec.serving.http.tokens import Tokens
from letterrec.serving.service import Service
from letterrec.serving.telemetry import ServerMetrics


@dataclass
class Served:
    """A server that runs in a thread of this process."""

    url: str
    run: Path
    service: Service
    server: uvicorn.Server

    def stop(self) -> None:
        """As SIGTERM does."""
        self.server.should_exit = True

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, **options)


@contextmanager
def serving(
    run: Path,
    *,
    queue: int = 256,
    max_batch: int = 64,
    others: Mapping[str, Path] | None = None,
    split: Mapping[str, float] | None = None,
    **options: Any,
) -> Iterator[Served]:
    """Serve a run, and others by their names, until the block ends."""
    if "token" in options:
        options["tokens"] = Tokens([options.pop("token")])
    metrics = ServerMetrics()

    def service(name: str, folder: Path) -> Service:
        def load() -> Engine:
            return api.load(folder.resolve())

        return Service(load, name=name, metrics=metrics, queue=queue, max_batch=max_batch)

    runs = {"default": run, **(others or {})}
    services = {name: service(name, folder) for name, folder in runs.items()}
    app = create_app(Fleet(services, split), **{"deadline": 60.0, **options})
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn_config(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Served(address, run, services["default"], server)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def own_run(shop_run: Path, tmp_path: Path) -> Path:
    """A copy of the shop's run that a test may change."""
    return Path(shutil.copytree(shop_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def server(shop_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server for tests that only ask."""
    run = shutil.copytree(shop_run, tmp_path_factory.mktemp("served") / "run")
    with serving(Path(run)) as served:
        yield served


@pytest.fixture(scope="session")
def client(server: Served) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    """`serving`, for tests that need a server of their own."""
    return serving
