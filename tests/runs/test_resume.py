"""A run that is killed at any moment goes on with --resume and ends as if nothing had happened."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import torch

import forked
from conftest import SMALL, steps_done
from letterrec import api
from letterrec.config.loading import load_settings
from letterrec.files import read_json
from letterrec.files.arrays import read_metadata
from letterrec.files.tensors import read_tensors
from letterrec.runs.run import STAGES

KILLS = 10
pytestmark = pytest.mark.slow


def command(shop: Path, folder: Path) -> list[str]:
    settings = [part for s in SMALL for part in ("--set", s)]
    return ["fit", str(shop), "--out", str(folder), *settings, "--resume"]


def run(arguments: list[str]) -> None:
    """The command as a user starts it."""
    done = [sys.executable, "-m", "letterrec.cli", *arguments]
    subprocess.run(done, check=True, capture_output=True)


def kill_in_stage(shop: Path, folder: Path, stage: str, delay: float) -> None:
    """Start the command and kill it with SIGKILL ``delay`` seconds into a stage."""
    log = folder.with_name("said.txt")
    process = forked.letterrec(*command(shop, folder), log=log)
    while process.is_alive() and f"] {stage}\n" not in log.read_text():
        time.sleep(0.005)
    process.join(delay)
    process.kill()
    process.join()


def outcome(folder: Path) -> tuple[pl.DataFrame, dict[str, object]]:
    metrics = read_json(folder / "metrics.json")
    for split in ("valid", "test"):
        metrics[split].pop("seconds")
        metrics[split].pop("users_per_second")
    return pl.read_parquet(folder / "identifiers.parquet"), metrics


@pytest.mark.timeout(600)
def test_ten_kills_change_nothing(shop: Path, shop_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    chance = random.Random(20)
    left = list(STAGES)  # each stage is killed in at least once, then any that is still to come
    for i in range(KILLS):
        done = read_json(folder / "run.json")["stages"] if (folder / "run.json").exists() else {}
        to_come = [s for s in STAGES if s not in done]
        left = [stage for stage in left if stage in to_come]
        stage = left.pop(0) if left else chance.choice(to_come or ["end"])
        kill_in_stage(shop, folder, stage, chance.random() * (0.4 if i % 2 else 1.5))
    run(command(shop, folder))
    identifiers, metrics = outcome(folder)
    expected_identifiers, expected_metrics = outcome(shop_run)
    assert identifiers.equals(expected_identifiers)
    assert metrics == expected_metrics
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_kills_within_an_epoch_change_nothing(shop: Path, tmp_path: Path) -> None:
    """The recommender's only epoch has 150 steps; each sitting is killed some steps further."""
    settings = [*SMALL, "training.epochs=1", "training.batch_size=1"]
    parts = [part for s in settings for part in ("--set", s)]
    api.fit(shop, tmp_path / "begun", load_settings(None, settings), until="identifiers")
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        shutil.copytree(tmp_path / "begun", folder)
    whole, killed = (["fit", str(shop), "--out", str(f), "--resume", *parts] for f in folders)
    log = tmp_path / "said.txt"
    training = folders[1] / "training" / "recommender"
    step = 0
    for _ in range(KILLS):
        process = forked.letterrec(*killed, log=log, keeps="steps")
        while not (training / "checkpoint.safetensors").exists() or steps_done(training) < step + 3:
            assert process.is_alive(), log.read_text()
            time.sleep(0.005)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert steps_done(training) >= step + 3
        step = steps_done(training)
    for arguments in (whole, killed):
        process = forked.letterrec(*arguments, log=log, keeps="steps")
        process.join()
        assert process.exitcode == 0, log.read_text()
    assert outcome(folders[0])[0].equals(outcome(folders[1])[0])
    assert outcome(folders[0])[1] == outcome(folders[1])[1]
    one, other = (read_tensors(f / "recommender.safetensors")[0] for f in folders)
    assert all(torch.equal(one[name], other[name]) for name in one)
    losses = [
        read_metadata(f / "training" / "recommender" / "checkpoint.safetensors")["log"]["epochs"]
        for f in folders
    ]
    assert losses[0][0]["loss"] == losses[1][0]["loss"]


def test_the_same_seed_gives_the_same_run(shop: Path, shop_run: Path, tmp_path: Path) -> None:
    run(command(shop, tmp_path / "again"))
    identifiers, metrics = outcome(tmp_path / "again")
    expected_identifiers, expected_metrics = outcome(shop_run)
    assert identifiers.equals(expected_identifiers)
    assert metrics == expected_metrics
