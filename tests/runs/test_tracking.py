"""Trackers, by one setting: MLflow's own store and TensorBoard's own events are read back."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import letterrec
from command import letterrec as command
from conftest import Cut, cut_at_step, write_shop
from letterrec.errors import RunError
from letterrec.files import read_json
from letterrec.runs import tracking
from letterrec.runs.layout import Layout
from letterrec.runs.run import Run

QUICK: dict[str, Any] = {"training.epochs": 2, "training.batch_size": 64, "recommender.dim": 16}


def fit(shop: Path, out: Path, **more: Any) -> letterrec.Settings:
    run = letterrec.fit(shop, out, QUICK | more, recipe="mf", progress=False)
    return run.settings


def statuses() -> dict[str, str]:
    """How the records of MLflow ended, by their names, which are all different."""
    from mlflow import MlflowClient

    client = MlflowClient()
    (group,) = [e for e in client.search_experiments() if e.name == "letterrec"]
    records = client.search_runs([group.experiment_id])
    assert len({r.info.run_name for r in records}) == len(records)
    return {r.info.run_name: r.info.status for r in records}


@pytest.mark.slow
def test_mlflow_has_settings_epochs_and_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    from mlflow import MlflowClient

    shop = write_shop(tmp_path / "shop")
    with pytest.MonkeyPatch.context() as patch:
        cut_at_step(patch, 16)  # in the second epoch
        with pytest.raises(Cut):
            fit(shop, tmp_path / "run", tracker="mlflow")
    assert statuses() == {"run": "FAILED"}
    letterrec.fit(
        shop, tmp_path / "run", QUICK | {"tracker": "mlflow"}, True, recipe="mf", progress=False
    )
    client = MlflowClient()
    assert (tmp_path / "run" / "training" / "tracker.json").exists()
    (group,) = [e for e in client.search_experiments() if e.name == "letterrec"]
    (record,) = client.search_runs([group.experiment_id])
    assert statuses() == {"run": "FINISHED"}
    assert record.info.end_time is not None
    assert record.data.params["training.epochs"] == "2"
    assert record.data.params["recommender.name"] == "mf"
    log = Run.open(tmp_path / "run").training_log("recommender").epochs
    history = client.get_metric_history(record.info.run_id, "recommender/loss")
    assert sorted({m.step for m in history}) == [0, 1]  # what was resumed may stand there twice
    assert math.isclose(history[-1].value, log[1]["loss"])
    metrics = letterrec.evaluate(tmp_path / "run", progress=False)["metrics"]
    assert record.data.metrics["test/recall_at_10"] == pytest.approx(metrics["recall@10"])
    assert not list((tmp_path / "run").rglob("events.out.*"))

    with pytest.MonkeyPatch.context() as patch:  # final training is a record of its own
        cut_at_step(patch, 24)  # in the second epoch, too
        with pytest.raises(Cut):
            letterrec.refit(tmp_path / "run", epochs=2, progress=False)
    assert statuses()["run-refit"] == "FAILED"
    letterrec.refit(tmp_path / "run", epochs=2, progress=False, resume=True)
    assert statuses() == {"run": "FINISHED", "run-refit": "FINISHED"}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can be forked here")
def test_a_run_that_is_asked_to_end_is_killed_in_mlflow_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    tell = tracking.epochs_to(
        Layout(tmp_path / "run"), letterrec.load_settings("mf", ["tracker=mlflow"]), "recommender"
    )
    assert tell is not None
    child = os.fork()
    if not child:
        tell({"epoch": 0.0, "loss": 1.0})
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    assert statuses() == {"run": "KILLED"}


@pytest.mark.slow
def test_tensorboard_has_epochs(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shop = write_shop(tmp_path / "shop")
    fit(shop, tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "training" / "recommender" / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("loss")] == [0, 1]
    assert "valid/ndcg@10" in events.Tags()["scalars"]
    fit(shop, tmp_path / "quiet", tracker="none")
    assert not list((tmp_path / "quiet").rglob("events.out.*"))


@pytest.mark.slow
def test_a_tracker_that_takes_nothing_ends_the_fit_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://")
    shop = write_shop(tmp_path / "shop")
    with pytest.raises(RunError, match="tracker = 'mlflow' took no metrics"):
        fit(shop, tmp_path / "run", tracker="mlflow")


def test_a_client_that_is_missing_is_named_before_training(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name)
    )
    given = ["fit", shop, "--out", tmp_path / "run", "--set", "tracker=wandb", "--recipe", "mf"]
    assert command(*given) == 2
    assert re.search(r"run: pip install '[^']+\[wandb\]'$", capsys.readouterr().err.strip())
    assert command("fit", shop, "--out", tmp_path / "run2", "--set", "tracker=nobody") == 2
    assert "tracker" in capsys.readouterr().err


@pytest.mark.slow
def test_wandb_has_settings_epochs_and_metrics_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs wandb: pip install '.[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    fit(write_shop(tmp_path / "shop"), tmp_path / "run", tracker="wandb")
    (kept,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    config, history = wandb_records(kept)
    assert config["training.epochs"] == 2
    assert config["recommender.name"] == "mf"
    log = Run.open(tmp_path / "run").training_log("recommender").epochs
    losses = [row["recommender/loss"] for row in history if "recommender/loss" in row]
    assert losses == pytest.approx([entry["loss"] for entry in log])
    metrics = letterrec.evaluate(tmp_path / "run", progress=False)["metrics"]
    assert history[-1]["test/recall@10"] == pytest.approx(metrics["recall@10"])
    assert kept.stem == f"run-{read_json(tmp_path / 'run' / 'training' / 'tracker.json')}"


def wandb_records(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The settings, and what was logged, in a file of W&B's own format."""
    from wandb.proto.wandb_internal_pb2 import Record

    config: dict[str, Any] = {}
    history = []
    for data in leveldb_log(path.read_bytes(), start=7):
        record = Record()
        record.ParseFromString(data)
        config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if items := record.history.item:
            names = ["/".join(item.nested_key) or item.key for item in items]
            values = [json.loads(item.value_json) for item in items]
            history.append(dict(zip(names, values, strict=True)))
    return config, history


def leveldb_log(data: bytes, start: int) -> Iterator[bytes]:
    """The records of a log as LevelDB writes it: blocks of 32 KiB, a checksum, length and kind
    before each fragment; kinds 1 and 4 end a record, 1 and 2 begin one.
    """
    at, record = start, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # what is left of a block holds no head
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        at += 7 + length
        record = (b"" if kind in (1, 2) else record) + data[at - length : at]
        if kind in (1, 4):
            yield record
