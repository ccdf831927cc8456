"""`benchmarks/gpu.sh` as it is tried without a GPU: the plan, then a step prepared and trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rings import write_rings

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
SMALL = (
    "training.epochs=1 training.batch_size=64 recommender.dim=16 recommender.layers=1 "
    "evaluation.beam=10"
)


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call the script; all that it makes goes into ``folder``."""
    own = {"GPU_FOLDER": str(folder / "gpu"), "PYTHON": sys.executable, **environment}
    return subprocess.run(
        ["bash", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **own},
    )


def test_plan_adds_up(tmp_path: Path) -> None:
    plan = run(tmp_path, "plan")
    assert plan.returncode == 0, plan.stderr
    minutes = [line.split()[1:3] for line in plan.stdout.splitlines()[1:-1]]
    assert [int(all_) for _, all_ in minutes] == [
        sum(int(m) for m, _ in minutes[: i + 1]) for i in range(len(minutes))
    ]


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    for arguments, said in (((), "plan"), (("train", "x"), "no step x"), (("prepare",), "DATA")):
        result = run(tmp_path, *arguments)
        assert result.returncode == 2
        assert said in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_step_is_prepared_then_trained_elsewhere(tmp_path: Path) -> None:
    data = write_rings(tmp_path)
    prepared = run(tmp_path, "prepare", str(data), "beauty-letter-tiger", MORE=SMALL)
    assert prepared.returncode == 0, prepared.stderr
    carried = tmp_path / "gpu" / "carry" / "beauty-letter-tiger"
    assert (carried / "run" / "identifiers.parquet").exists()
    for table in data.joinpath("Beauty").iterdir():
        table.unlink()  # what was carried is all that there is

    out = tmp_path / "out"
    trained = run(
        tmp_path,
        "train",
        "beauty-letter-tiger",
        MORE=SMALL,
        ON_CPU="1",
        OUT=str(out),
        CUDA_VISIBLE_DEVICES="",
    )
    assert trained.returncode == 0, trained.stderr
    assert "beauty-letter-tiger: finished" in trained.stdout
    metrics = json.loads((out / "beauty-letter-tiger" / "metrics.json").read_text())
    assert metrics["test"]["users"] == 40
    assert not list(out.rglob("checkpoint.safetensors"))
