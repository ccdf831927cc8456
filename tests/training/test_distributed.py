"""Several processes that make one run, as ``torchrun`` starts them: real processes, on the CPU."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch

import forked
from conftest import SMALL, steps_done
from letterrec import api
from letterrec.config.loading import load_settings
from letterrec.config.settings import Settings
from letterrec.files.tensors import read_tensors
from letterrec.runs.run import Run

pytestmark = pytest.mark.slow

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def words(shop: Path, out: Path, *settings: str, recipe: str = "rqt") -> list[str]:
    """Of ``letterrec fit --resume``."""
    fit = ["fit", str(shop), "--out", str(out), "--resume", "--recipe", recipe]
    return [*fit, *(part for setting in settings for part in ("--set", setting))]


def under_torchrun(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """``letterrec ARGUMENTS`` in two processes, until they end."""
    command = [*TORCHRUN, "-m", "letterrec.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def finish(arguments: list[str], log: Path, keeps: forked.Kept | None = None) -> None:
    """``letterrec ARGUMENTS`` in two processes, which succeed."""
    both = forked.two(*arguments, log=log, keeps=keeps)
    for process in both:
        process.join()
    said = "".join(path.read_text() for path in log.parent.glob(f"{log.stem}-*"))
    assert [process.exitcode for process in both] == [0, 0], said[-3000:]


def kill(both: list[ForkServerProcess]) -> None:
    """SIGKILL to processes that are at work."""
    assert all(process.is_alive() for process in both)
    for process in both:
        process.kill()
    for process in both:
        process.join()


def begin(shop: Path, folder: Path, settings: Settings) -> None:
    """Two equal runs, up to identifiers: a process alone has more threads, and rounds otherwise."""
    api.fit(shop, folder / "two", settings, until="identifiers")
    shutil.copytree(folder / "two", folder / "one")


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
    done = under_torchrun(words(shop, tmp_path / "two", *settings))
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout + done.stderr
    assert said.count("[6/8] recommender") == 1  # the main process alone speaks
    api.fit(shop, tmp_path / "one", load_settings(None, settings), resume=True)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=2e-3)
    one, two = (Run.open(tmp_path / name).metrics()["test"] for name in ("one", "two"))
    assert two["users"] == one["users"]
    repeated = api.evaluate(tmp_path / "two")
    assert repeated["metrics"] == pytest.approx(two["metrics"], abs=0.01)
    assert not list((tmp_path / "two").rglob("*.tmp"))


def test_a_language_model_is_sharded(small_shop: Path, tiny_model: Path, tmp_path: Path) -> None:
    settings = [
        "data.k_core=0",
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
    begin(small_shop, tmp_path, load_settings("lcrec", settings))
    arguments = words(small_shop, tmp_path / "two", *settings, recipe="lcrec")
    finish(arguments, tmp_path / "said.txt")
    api.fit(small_shop, tmp_path / "one", load_settings("lcrec", settings), resume=True)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=0.01)
    one, two = (read_tensors(tmp_path / x / "recommender.safetensors")[0] for x in ("one", "two"))
    assert {k: v.shape for k, v in two.items()} == {k: v.shape for k, v in one.items()}
    engine = api.load(tmp_path / "two")
    assert len(engine.recommend([["i01", "i02"]], k=5)[0]) == 5


def test_one_process_finishes_what_two_began(shop: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    checkpoint = run / "training" / "recommender" / "checkpoint.safetensors"
    both = forked.two(*words(shop, run, *SMALL), log=tmp_path / "said.txt", keeps="epochs")
    while not checkpoint.exists() or not losses(run):
        assert all(process.is_alive() for process in both)
        time.sleep(0.01)
    kill(both)
    assert not Run.open(run).is_done("recommender")
    settings = load_settings("rqt", SMALL)
    assert len(losses(run)) < settings.training.epochs
    api.fit(shop, run, settings, resume=True)
    assert len(losses(run)) == settings.training.epochs
    assert losses(run)[-1] < losses(run)[0]
    assert not list(run.rglob("*.tmp"))


def test_two_processes_go_on_within_an_epoch_exactly(shop: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "training.epochs=1", "training.batch_size=2"]
    begin(shop, tmp_path, load_settings(None, settings))
    whole, killed = (words(shop, tmp_path / name, *settings) for name in ("one", "two"))
    folder, log = tmp_path / "two" / "training" / "recommender", tmp_path / "said.txt"
    both = forked.two(*killed, log=log, keeps="steps")
    while not (folder / "checkpoint.safetensors").exists() or steps_done(folder) < 7:
        assert all(process.is_alive() for process in both)
        time.sleep(0.01)
    kill(both)
    assert steps_done(folder) >= 7
    for arguments in (whole, killed):
        finish(arguments, log, keeps="steps")
    one, two = (read_tensors(tmp_path / x / "recommender.safetensors")[0] for x in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert losses(tmp_path / "one") == losses(tmp_path / "two")


def test_what_cannot_be_read_ends_all_processes(tmp_path: Path) -> None:
    done = under_torchrun(words(tmp_path / "nowhere", tmp_path / "run"))
    assert done.returncode != 0
    assert done.stderr.count("nowhere does not exist; expected a folder") == 1
    assert "[rank1]" not in done.stderr  # as torchrun marks the tracebacks of those it started


MEET = """
import atexit, os, pathlib, torch

def list_threads():
    for comm in pathlib.Path("/proc/self/task").glob("*/comm"):
        os.write(1, f"at exit: {comm.read_text()}".encode())

atexit.register(list_threads)  # called last: what is registered later is called earlier
from letterrec.training import distributed
distributed.join()
with distributed.main_first():
    os.write(1, b"met\\n")
with distributed.together():
    rank = distributed.rank()
    rows, values = torch.tensor([[1, 3 + rank]]), torch.full((2, 2), 1.0 + rank)
    gradient = torch.sparse_coo_tensor(rows, values, (6, 2), check_invariants=False)
    mean = distributed.average_rows(gradient).to_dense()[:, 0].tolist()
    os.write(1, f"mean: {mean}\\n".encode())
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """By two processes that meet."""
    script = tmp_path_factory.mktemp("meet") / "script.py"
    script.write_text(MEET)
    return subprocess.run(
        [*TORCHRUN, str(script)], capture_output=True, text=True, timeout=120, check=True
    ).stdout


def test_no_thread_outlives_the_processes_work(said: str) -> None:
    assert said.count("met\n") == 2
    assert said.count("at exit: ") >= 2
    assert "gloo" not in said


def test_gradients_of_rows_are_averaged(said: str) -> None:
    assert said.count(f"mean: {[0.0, 1.5, 0.0, 0.5, 1.0, 0.0]}\n") == 2
