"""Several processes that make one run, as ``torchrun`` starts them: real processes, on the CPU."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from conftest import SMALL, steps_done
from letterrec import api
from letterrec.config.loading import load_settings
from letterrec.config.settings import Settings
from letterrec.files.tensors import read_tensors
from letterrec.runs.run import Run

pytestmark = pytest.mark.slow

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def command(shop: Path, out: Path, *settings: str, recipe: str = "rqt") -> list[str]:
    """``letterrec fit --resume`` in two processes."""
    fit = ["fit", str(shop), "--out", str(out), "--resume", "--recipe", recipe]
    changes = [part for setting in settings for part in ("--set", setting)]
    return [*TORCHRUN, "-m", "letterrec.cli", *fit, *changes]


def fit_with_two(shop: Path, out: Path, *settings: str, recipe: str = "rqt") -> str:
    """What both processes say while they fit."""
    arguments = command(shop, out, *settings, recipe=recipe)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def begin(shop: Path, folder: Path, settings: Settings) -> None:
    """Two equal runs, up to identifiers: a process alone has more threads, and rounds otherwise."""
    api.fit(shop, folder / "two", settings, until="identifiers")
    shutil.copytree(folder / "two", folder / "one")


def kill_all(path: Path) -> None:
    """SIGKILL to every process that was started with this path."""
    for process in psutil.process_iter(["cmdline"]):
        if any(str(path) in part for part in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.Error):
                process.kill()


def losses(folder: Path) -> list[float]:
    """Of each epoch of the recommender's training."""
    checkpoint = Run.open(folder).checkpoints("recommender") / "checkpoint.safetensors"
    return [epoch["loss"] for epoch in read_tensors(checkpoint)[1]["log"]["epochs"]]


def test_two_processes_make_the_run_that_one_makes(shop: Path, tmp_path: Path) -> None:
    # How much transitions count is chosen by validation, which one user's rank may tip.
    # Sums are rounded otherwise, which adds up where training is steep: the rate is low.
    alike = ["recommender.dropout=0.0", "transitions.enabled=false", "training.learning_rate=3e-4"]
    settings = [*SMALL, *alike, "training.epochs=3"]
    begin(shop, tmp_path, load_settings(None, settings))
    said = fit_with_two(shop, tmp_path / "two", *settings)
    assert said.count("[6/8] recommender") == 1  # the main process alone speaks
    api.fit(shop, tmp_path / "one", load_settings(None, settings), resume=True)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=2e-3)
    one, two = (Run.open(tmp_path / name).metrics()["test"] for name in ("one", "two"))
    assert two["users"] == one["users"]
    repeated = api.evaluate(tmp_path / "two")
    assert repeated["metrics"] == pytest.approx(two["metrics"], abs=0.01)
    assert not list((tmp_path / "two").rglob("*.tmp"))


def test_a_language_model_is_sharded(shop: Path, tiny_model: Path, tmp_path: Path) -> None:
    settings = [
        "collaborative.training.epochs=2",
        "tokenizer.training.epochs=2",
        "tokenizer.codes=16",
        "training.epochs=2",
        "evaluation.beam=10",
        f'recommender.model="{tiny_model}"',
        "recommender.dtype=float32",
        "recommender.dropout=0.0",
        "recommender.gradient_checkpointing=true",
    ]
    begin(shop, tmp_path, load_settings("lcrec", settings))
    fit_with_two(shop, tmp_path / "two", *settings, recipe="lcrec")
    api.fit(shop, tmp_path / "one", load_settings("lcrec", settings), resume=True)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=0.01)
    one, two = (read_tensors(tmp_path / x / "recommender.safetensors")[0] for x in ("one", "two"))
    assert {k: v.shape for k, v in two.items()} == {k: v.shape for k, v in one.items()}
    engine = api.load(tmp_path / "two")
    assert len(engine.recommend([["i01", "i02"]], k=5)[0]) == 5


def test_one_process_finishes_what_two_began(shop: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "training.epochs=60", "training.patience=60"]
    run = tmp_path / "run"
    checkpoint = run / "training" / "recommender" / "checkpoint.safetensors"
    with subprocess.Popen(command(shop, run, *settings), stderr=subprocess.DEVNULL) as both:
        while not checkpoint.exists():
            assert both.poll() is None
            time.sleep(0.01)
        kill_all(run)
    assert not Run.open(run).is_done("recommender")
    api.fit(shop, run, load_settings("rqt", settings), resume=True)
    assert len(losses(run)) == 60
    assert losses(run)[-1] < losses(run)[0]
    assert not list(run.rglob("*.tmp"))


KEEPS_EVERY_STEP = """
import time
from letterrec.training import checkpoints
from letterrec.cli import app as cli
from letterrec.training import steps

share = steps._share

def slow_share(rows):
    time.sleep(0.02)
    return share(rows)

checkpoints.WITHIN_EPOCH, steps._share = 0.0, slow_share
cli.main()
"""


@pytest.mark.slow
def test_two_processes_go_on_within_an_epoch_exactly(shop: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "training.epochs=1", "training.batch_size=2"]
    begin(shop, tmp_path, load_settings(None, settings))
    script = tmp_path / "script.py"
    script.write_text(KEEPS_EVERY_STEP)
    whole, killed = (
        [*TORCHRUN, str(script), *command(shop, tmp_path / name, *settings)[len(TORCHRUN) + 2 :]]
        for name in ("one", "two")
    )
    folder = tmp_path / "two" / "training" / "recommender"
    with subprocess.Popen(killed, stderr=subprocess.DEVNULL) as both:
        while not (folder / "checkpoint.safetensors").exists() or steps_done(folder) < 7:
            assert both.poll() is None
            time.sleep(0.01)
        kill_all(tmp_path / "two")
    assert steps_done(folder) >= 7
    for arguments in (whole, killed):
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (read_tensors(tmp_path / x / "recommender.safetensors")[0] for x in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert losses(tmp_path / "one") == losses(tmp_path / "two")


def test_what_cannot_be_read_ends_all_processes(tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path / "nowhere", tmp_path / "run"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.count("nowhere does not exist; expected a folder") == 1
    assert "[rank1]" not in done.stderr  # as torchrun marks the tracebacks of those it started


LISTS_THREADS_AT_EXIT = """
import atexit, os, pathlib

def list_threads():
    for comm in pathlib.Path("/proc/self/task").glob("*/comm"):
        os.write(1, f"at exit: {comm.read_text()}".encode())

atexit.register(list_threads)  # called last: what is registered later is called earlier
from letterrec.training import distributed
distributed.join()
with distributed.main_first():
    os.write(1, b"met\\n")
"""


def test_no_thread_outlives_the_processes_work(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(LISTS_THREADS_AT_EXIT)
    said = subprocess.run(
        [*TORCHRUN, str(script)], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert said.count("met") == 2
    assert said.count("at exit: ") >= 2
    assert "gloo" not in said


AVERAGE = """
import sys, torch
from letterrec.training import distributed

distributed.join()
with distributed.together():
    rank = distributed.rank()
    rows, values = torch.tensor([[1, 3 + rank]]), torch.full((2, 2), 1.0 + rank)
    gradient = torch.sparse_coo_tensor(rows, values, (6, 2), check_invariants=False)
    mean = distributed.average_rows(gradient).to_dense()[:, 0].tolist()
    open(f"{sys.argv[1]}/{rank}", "w").write(str(mean))
"""


def test_gradients_of_rows_are_averaged(tmp_path: Path) -> None:
    script = tmp_path / "average.py"
    script.write_text(AVERAGE)
    subprocess.run([*TORCHRUN, script, str(tmp_path)], check=True, capture_output=True, timeout=100)
    assert {(tmp_path / rank).read_text() for rank in "01"} == {str([0.0, 1.5, 0.0, 0.5, 1.0, 0.0])}
