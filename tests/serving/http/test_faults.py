"""What may happen to a server: killed, reloaded under load, a corrupt run, signals."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from letterrec.files.tensors import read_tensors, write_tensors
from served import process


@contextmanager
def load_on(client: httpx.Client, threads: int = 4) -> Iterator[list[int]]:
    """Requests, one after the other in each thread, until the block ends; their statuses."""
    statuses: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                answer = client.post("/v1/recommend", json={"history": ["i05"], "k": 5})
                statuses.append(answer.status_code)
            except httpx.TransportError:
                statuses.append(0)

    with ThreadPoolExecutor(threads) as pool:
        for _ in range(threads):
            pool.submit(ask)
        try:
            yield statuses
        finally:
            over.set()


def test_a_killed_server_comes_back_with_all_items_and_stops_gracefully(own_run: Path) -> None:
    """SIGKILL while items are added; restart; a reload by SIGHUP; SIGTERM under load."""
    with process(own_run) as first:
        body = {"items": [{"item": "n1", "title": "red lipstick no. 61"}]}
        assert first.client.post("/v1/items", json=body).status_code == 201

        def add(i: int) -> int:
            item = {"item": f"m{i}", "title": f"green tea no. {i}"}
            try:
                return first.client.post("/v1/items", json={"items": [item]}).status_code
            except httpx.TransportError:
                return 0

        with ThreadPoolExecutor(4) as pool:
            adding = pool.map(add, range(40))
            time.sleep(0.3)
            first.end(signal.SIGKILL)
            added = [i for i, status in enumerate(adding) if status == 201]

    with process(own_run) as again:
        for item in ("n1", *(f"m{i}" for i in added)):
            assert again.client.get(f"/v1/items/{item}").status_code == 200
        assert again.seconds_to_ready < 30

        again.process.send_signal(signal.SIGHUP)
        again.wait_for("reloaded")
        with load_on(again.client) as statuses:
            time.sleep(0.5)
            assert again.end(signal.SIGTERM) == 0
        answered = [s for s in statuses if s]
        assert answered
        assert set(answered) <= {200, 503}
        assert again.wait_for("stopped")


def test_a_reload_under_load_fails_no_request(serve: Callable[..., Any], own_run: Path) -> None:
    with serve(own_run) as served, served.client() as client:
        old = served.service.engine
        with load_on(client) as statuses:
            for _ in range(3):
                assert client.post("/v1/reload").status_code == 200
            asked = len(statuses)
            while len(statuses) < asked + 20:
                time.sleep(0.01)
        assert set(statuses) == {200}
        assert served.service.engine is not old
        assert 'letterrec_reloads_total{result="done"} 3.0' in client.get("/metrics").text


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def not_numbers(path: Path) -> None:
    tensors, about = read_tensors(path)
    write_tensors(path, {k: torch.full_like(v, torch.nan) for k, v in tensors.items()}, about)


def of_other_shape(path: Path) -> None:
    tensors, about = read_tensors(path)
    write_tensors(path, {k: v[:1] if v.ndim else v for k, v in tensors.items()}, about)


def other_people(path: Path) -> None:
    import polars as pl

    frame = pl.read_parquet(path)
    metadata = pl.read_parquet_metadata(path)
    about = {k: v for k, v in metadata.items() if k != "ARROW:schema"}
    frame.with_columns(pl.col("user") + "x").write_parquet(path, metadata=about)


DAMAGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "weights cut": ("recommender.safetensors", cut),
    "weights NaN": ("recommender.safetensors", not_numbers),
    "weights of another network": ("recommender.safetensors", of_other_shape),
    "weights missing": ("recommender.safetensors", Path.unlink),
    "identifiers cut": ("identifiers.parquet", cut),
    "identifiers missing": ("identifiers.parquet", Path.unlink),
    "content cut": ("content.safetensors", cut),
    "interactions cut": ("data/interactions.parquet", cut),
    "other interactions": ("data/interactions.parquet", other_people),
    "items missing": ("data/items.parquet", Path.unlink),
    "settings nonsense": ("settings.toml", lambda path: path.write_text("seed = 'x'")),
    "run.json cut": ("run.json", cut),
    "run.json missing": ("run.json", Path.unlink),
}


def test_a_corrupt_run_is_refused_and_the_old_one_goes_on(
    serve: Callable[..., Any], own_run: Path, tmp_path: Path
) -> None:
    sound = shutil.copytree(own_run, tmp_path / "sound")
    with serve(own_run) as served, served.client() as client:
        before = client.post("/v1/recommend", json={"history": ["i05"]}).json()
        for name, (file, damage) in DAMAGE.items():
            damage(own_run / file)
            answer = client.post("/v1/reload")
            assert answer.status_code == 409, name
            detail = answer.json()["detail"]
            assert detail.startswith("the run stays as it was: "), name
            assert client.post("/v1/recommend", json={"history": ["i05"]}).json() == before
            shutil.copy(Path(sound) / file, own_run / file)
        assert client.post("/v1/reload").status_code == 200


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        (["--host", "203.0.113.9"], {}, "cannot listen on 203.0.113.9"),
        ([], {"LETTERREC_TOKEN": "short"}, "LETTERREC_TOKEN holds a token of 5 characters"),
        (["--token-file", "missing.txt"], {}, "missing.txt cannot be read as the token's file"),
    ],
    ids=["address", "short token", "no token file"],
)
def test_a_server_that_cannot_start_says_why(
    shop_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    environment: dict[str, str],
    words: str,
) -> None:
    from letterrec.cli import app as cli

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["letterrec", "serve", str(shop_run), *options])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert words in error[0]
