"""Jobs on a real Ray cluster of two nodes, one of which dies in the middle of each."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from conftest import SMALL, small_settings
from letterrec import api
from letterrec.cluster.connection import connected
from letterrec.cluster.fitting import fit
from letterrec.cluster.workers import RayWorkers
from letterrec.config.loading import load_settings
from letterrec.data import read
from letterrec.data.readers import partitions
from letterrec.data.text import ItemText
from letterrec.embeddings.content import embed
from letterrec.errors import LetterRecError, RequestError, RunError
from letterrec.files.tensors import read_tensors
from letterrec.processes import jobs
from letterrec.runs.run import Run
from letterrec.serving.bulk import recommend_all
from letterrec.serving.editing.editor import Editor
from letterrec.serving.editing.edits import AddItems
from letterrec.tokenizers import Items
from letterrec.tokenizers.assignment import assign
from snippets import DOCS, blocks

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
]
SECONDS = 0.2  # of a part, so that there is a middle to be killed in
SETTINGS = {  # of the cluster: deaths are noticed at once, and the memory of other programs is not
    "memory_monitor_refresh_ms": 0,
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 300,
    "health_check_timeout_ms": 30_000,  # one that is killed refuses at once
    "health_check_failure_threshold": 3,
}


class TwoNodes:
    """A cluster of two nodes, of two logical CPUs and of one; the second can be killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {
            "num_cpus": 2,
            "object_store_memory": 100_000_000,
            "include_dashboard": False,
            "_system_config": SETTINGS,
        }
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self._cluster.address
        self._second: Any = None

    def complete(self) -> None:
        """Start the second node, unless it is there."""
        if self._second is None:
            self._second = self._cluster.add_node(num_cpus=1, object_store_memory=100_000_000)

    def kill(self) -> None:
        """Kill the second node."""
        if self._second is not None:
            self._cluster.remove_node(self._second, allow_graceful=False)
            self._second = None

    def end(self) -> None:
        """Stop all that is left."""
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests
    cluster = TwoNodes()
    yield cluster
    cluster.end()


def slowed(start: jobs.Start[Any, Any]) -> Callable[[Any], Any]:
    """Does parts as ``start`` does, and not at once."""
    work = start()

    def slowly(part: Any) -> Any:
        time.sleep(SECONDS)
        return work(part)

    return slowly


class Cut(RayWorkers):
    """Workers on every CPU, of whose machines one is killed when a part of a work is done.

    Attributes:
        is_cut: whether it was killed.
    """

    def __init__(self, nodes: TwoNodes, folder: Path) -> None:
        super().__init__(None, folder)
        self._nodes = nodes
        self.is_cut = False

    def do(self, start: jobs.Start[Any, Any], parts: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        for done in super().do(partial(slowed, start), parts):
            if not self.is_cut and len(parts) > 5:
                self._nodes.kill()
                self.is_cut = True
            yield done


@contextmanager
def cut(nodes: TwoNodes, folder: Path) -> Iterator[Cut]:
    """Inside the block, parts are done on the cluster, and a node dies."""
    nodes.complete()
    with connected(nodes.address, folder):
        workers = Cut(nodes, folder)
        with jobs.done_by(workers):
            yield workers
    assert workers.is_cut


def test_a_fit_gives_the_run_of_one_machine(
    nodes: TwoNodes, shop: Path, shop_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.complete()
    monkeypatch.setenv("LETTERREC_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    with connected(nodes.address, tmp_path / "work", workers=1):
        fit(str(shop), run, small_settings(), workers=1)
    assert not (tmp_path / "work").exists()
    assert (run / "identifiers.parquet").read_bytes() == (
        shop_run / "identifiers.parquet"
    ).read_bytes()
    one, other = (read_tensors(f / "recommender.safetensors")[0] for f in (shop_run, run))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (
        Run.open(run).metrics()["test"]["metrics"]
        == Run.open(shop_run).metrics()["test"]["metrics"]
    )


def test_a_log_is_read_when_a_node_dies(
    nodes: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_LEAST", 6)
    random = np.random.default_rng(0)
    log = pl.DataFrame(
        {"user": random.integers(200, size=6000), "item": random.integers(90, size=6000)}
    )
    log = log.with_columns(timestamp=1_700_000_000 + pl.int_range(pl.len()))
    log.write_parquet(tmp_path / "interactions.parquet")
    whole = read(tmp_path)
    monkeypatch.setattr(partitions, "LARGE", {"parquet": 0})
    with cut(nodes, tmp_path / "work"):
        parted = read(tmp_path)
    assert parted.fingerprint == whole.fingerprint
    assert not list(tmp_path.glob("work*"))


def test_texts_are_embedded_when_a_node_dies(
    nodes: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("letterrec.embeddings.content._CHUNK", 8)
    texts = [f"{'a very ' * (i % 5)}small thing no. {i}" for i in range(64)]
    whole = embed(texts, cache=tmp_path / "one")
    with cut(nodes, tmp_path / "work"):
        parted = embed(texts, cache=tmp_path / "two")
    assert np.array_equal(whole, parted)


def test_identifiers_are_unique_when_a_node_dies(
    nodes: TwoNodes, shop_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("letterrec.tokenizers.assignment._SLICE", 8192)
    tokenizer = Run.open(shop_run).tokenizer()
    random = np.random.default_rng(0)
    content = random.normal(size=(45_000, 384)).astype(np.float32)
    items = Items(content, random.normal(size=(45_000, 32)).astype(np.float32))
    taken = random.integers(16, size=(2000, 4)).astype(np.int32)
    whole = tokenizer.assign(items, taken)
    with cut(nodes, tmp_path / "work"):
        parted = assign(tokenizer, items, taken)
    assert np.array_equal(whole, parted)


def test_all_users_get_their_lists_when_a_node_dies(
    nodes: TwoNodes, shop_run: Path, tmp_path: Path
) -> None:
    engine = api.load(shop_run)
    whole, parted = tmp_path / "whole.parquet", tmp_path / "parted.parquet"
    recommend_all(engine, whole, part=15)
    load = partial(api.load, shop_run)
    with cut(nodes, tmp_path / "work"):
        recommend_all(engine, parted, part=15, load=load)
    assert pl.read_parquet(parted).equals(pl.read_parquet(whole))


def test_items_are_added_when_a_node_dies(
    nodes: TwoNodes, shop_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("letterrec.embeddings.content._CHUNK", 4)
    new = {f"n{i}": ItemText(f"thing no. {i}", f"thing no. {i}") for i in range(40)}
    for name in ("one", "two"):
        shutil.copytree(shop_run, tmp_path / name)
    one, two = api.load(tmp_path / "one"), api.load(tmp_path / "two")
    Editor(one).make(AddItems(new))
    with cut(nodes, tmp_path / "work"):
        Editor(two).make(AddItems(new))
    assert np.array_equal(one.identifiers.codes, two.identifiers.codes)


def test_training_goes_on_when_a_node_dies(nodes: TwoNodes, shop: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "training.epochs=5", "training.patience=5", "training.batch_size=8"]
    settings += ["transitions.enabled=false"]
    begun, chosen = tmp_path / "begun", load_settings(None, settings)
    api.fit(shop, begun, chosen, until="identifiers")
    for name in ("whole", "killed"):
        shutil.copytree(begun, tmp_path / name)
    nodes.complete()
    with connected(nodes.address, tmp_path / "work"):
        fit(str(shop), tmp_path / "whole", chosen, resume=True, workers=2)
        checkpoint = tmp_path / "killed" / "training" / "recommender" / "checkpoint.safetensors"

        def kill() -> None:
            while not checkpoint.exists():
                time.sleep(0.02)
            nodes.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        fit(str(shop), tmp_path / "killed", chosen, resume=True, workers=2)
        killer.join()
    one, two = (
        read_tensors(tmp_path / x / "recommender.safetensors")[0] for x in ("whole", "killed")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_block_of_the_page_runs(tmp_path: Path) -> None:
    (example,) = [b.text for b in blocks(DOCS / "CLUSTER.md") if b.language == "python"]
    shutil.copytree(DOCS / "shop", tmp_path / "my-data")
    small = f"letterrec.load_settings(None, {SMALL!r})"
    code = example.replace("letterrec.load_settings()", small)
    assert code != example
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Run.open(tmp_path / "runs" / "first").settings.training.epochs


def mistaken(_part: int) -> int:
    raise RequestError("a mistake of the user")


def start_mistaken() -> Callable[[int], int]:
    return mistaken


def test_a_mistake_within_a_part_is_told(nodes: TwoNodes, tmp_path: Path) -> None:
    with (
        connected(nodes.address, tmp_path),
        pytest.raises(RequestError, match="a mistake of the user"),
    ):
        list(jobs.do(start_mistaken, [1, 2]))


def die(_part: int) -> int:
    import os

    os._exit(1)


def start_dying() -> Callable[[int], int]:
    return die


def test_a_cluster_that_loses_everything_is_given_up(
    nodes: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("letterrec.cluster.workers._LOSSES", 2)
    with (
        connected(nodes.address, tmp_path),
        pytest.raises(RunError, match="lost 2 processes in a row before they had done anything"),
    ):
        list(jobs.do(start_dying, [1]))


def test_training_that_cannot_be_says_why(nodes: TwoNodes, shop: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "training.learning_rate=1e30", "training.clip=0"]
    with (
        connected(nodes.address, tmp_path / "work"),
        pytest.raises(LetterRecError, match="the loss became nan"),
    ):
        fit(str(shop), tmp_path / "run", load_settings(None, settings), workers=1)
