"""Several processes that make one run, as ``torchrun`` starts them: real processes, on the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import SMALL
from letterrec import finished, pipeline
from letterrec.config import load_settings
from letterrec.run import Run
from letterrec.store import read_tensors


def fit_with_two(shop: Path, out: Path, *settings: str, recipe: str = "rqt") -> str:
    """``letterrec fit`` in two processes; what both of them say."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "letterrec.cli", "fit", str(shop), "--out", str(out), "--recipe", recipe]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def losses(folder: Path) -> list[float]:
    """Of each epoch of the recommender's training."""
    checkpoint = Run.open(folder).checkpoints("recommender") / "checkpoint.safetensors"
    return [epoch["loss"] for epoch in read_tensors(checkpoint)[1]["log"]["epochs"]]


def test_two_processes_make_the_run_that_one_makes(shop: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "recommender.dropout=0.0", "training.epochs=3"]
    said = fit_with_two(shop, tmp_path / "two", *settings)
    assert said.count("[1/8] read") == 1  # the main process alone speaks
    pipeline.fit(shop, tmp_path / "one", load_settings(None, settings))
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=0.02)
    one, two = (Run.open(tmp_path / name).read_json("metrics")["test"] for name in ("one", "two"))
    assert two["users"] == one["users"]
    assert two["metrics"]["recall@10"] == pytest.approx(one["metrics"]["recall@10"], abs=0.05)
    repeated = finished.evaluate(tmp_path / "two")
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
    fit_with_two(shop, tmp_path / "two", *settings, recipe="lcrec")
    pipeline.fit(shop, tmp_path / "one", load_settings("lcrec", settings))
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=0.02)
    one, two = (read_tensors(tmp_path / x / "recommender.safetensors")[0] for x in ("one", "two"))
    assert {k: v.shape for k, v in two.items()} == {k: v.shape for k, v in one.items()}
    engine = finished.load(tmp_path / "two")
    assert len(engine.recommend([["i01", "i02"]], k=5)[0]) == 5
