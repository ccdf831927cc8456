"""Data that several tests share: a small shop with a known order of purchases, and a run on it."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from domains import write_domains
from letterrec.config.loading import load_settings
from letterrec.config.settings import Settings
from letterrec.recommenders.lcrec import llm

N_ITEMS = 60
N_USERS = 150
SMALL = [
    "collaborative.training.epochs=4",
    "collaborative.training.learning_rate=2e-3",
    "tokenizer.training.epochs=4",
    "tokenizer.training.batch_size=256",
    "tokenizer.codes=16",
    "training.epochs=6",
    "training.batch_size=64",
    "training.learning_rate=3e-3",
    "recommender.dim=32",
    "recommender.dropout=0.1",
    "evaluation.beam=10",
]
SLOW = {
    "trained_baseline",
    "shop_run",
    "wishing_run",
    "two_domains",
    "cold_run",
    "smollm2",
    "minilm",
    "ablation",
    "overall",
    "swept",
}  # fixtures


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for something trained, or for a server of it, is slow."""
    for item in items:
        if SLOW & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


def write_shop(folder: Path, n_users: int = N_USERS, seed: int = 0) -> Path:
    """A folder of tables in which item ``i`` is nearly always followed by item ``i + 1``."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    with (folder / "interactions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "timestamp"])
        for user in range(n_users):
            item = int(random.integers(N_ITEMS))
            for step in range(int(random.integers(6, 12))):
                writer.writerow([f"u{user}", f"i{item:02d}", 1_700_000_000 + 86_400 * step])
                item = (item + 1) % N_ITEMS if random.random() < 0.9 else int(random.integers(60))
    kinds = ["red lipstick", "garden hose", "jazz record", "running shoe", "green tea", "chess set"]
    with (folder / "items.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "title", "brand"])
        for item in range(N_ITEMS):
            writer.writerow([f"i{item:02d}", f"{kinds[item % 6]} no. {item}", f"brand {item % 4}"])
    return folder


def small_settings(*overrides: str, recipe: str | None = None) -> Settings:
    """Settings that train on the shop in seconds."""
    return load_settings(recipe, [*SMALL, *overrides])


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A run that one worker of pytest-xdist makes; each has a copy of it."""
    base = factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"made-{name}"
    with FileLock(f"{made}.lock"):
        if not made.exists():
            unfinished = factory.mktemp("unfinished") / name
            make(unfinished)
            unfinished.rename(made)
    return Path(shutil.copytree(made, factory.mktemp("runs") / name))


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's folder of tables."""
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def small_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop with a quarter of its users, for what takes long for each of them."""
    return write_shop(tmp_path_factory.mktemp("small") / "shop", n_users=N_USERS // 4)


@pytest.fixture(scope="session")
def shop_run(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the shop; read only."""
    from letterrec import api

    return made_once(
        tmp_path_factory, "shop", lambda folder: api.fit(shop, folder, small_settings())
    )


@pytest.fixture(scope="session")
def wishing_run(shop: Path, shop_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the shop that follows wishes; read only."""
    from letterrec import api

    wishing = ["wishes.enabled=true", "wishes.training.epochs=4", "wishes.training.batch_size=64"]
    settings = small_settings(*wishing)
    return made_once(
        tmp_path_factory,
        "wishing",
        lambda folder: api.fit(shop, folder, settings, reuse=shop_run),
    )


@pytest.fixture(scope="session")
def two_domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on two sources whose users are joined; read only."""
    from letterrec import api

    sources = write_domains(tmp_path_factory.mktemp("domains"))
    quick = ("data.join_users=true", "training.epochs=3", "tokenizer.training.epochs=2")
    settings = small_settings(*quick)
    return made_once(
        tmp_path_factory,
        "domains",
        lambda folder: api.fit(sources, folder, settings, progress=False),
    )


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; a test that needs it says so when it is not there."""
    folder = os.environ.get("LETTERREC_DATA")
    if not folder:
        pytest.skip("set LETTERREC_DATA to a folder with Beauty/ and Instruments/ to run this")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small Llama of random weights and SmolLM2's tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = llm.load("smollm2").tokenizer
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Cut(Exception):
    """Ends a training as a crash would."""


def cut_at_step(patch: pytest.MonkeyPatch, count: int) -> None:
    """Keep a checkpoint after every step of a training, and end it after ``count`` of them."""
    from letterrec.training import checkpoints, steps

    taken: set[int] = set()
    rate = steps._rate

    def step(number: int, *arguments: Any) -> float:
        taken.add(number)
        if len(taken) > count:
            raise Cut
        return rate(number, *arguments)

    patch.setattr(checkpoints, "WITHIN_EPOCH", 0.0)
    patch.setattr(steps, "_rate", step)


def steps_done(folder: Path) -> int:
    """Steps of the epoch that the checkpoint in a folder stands in; 0 between two epochs."""
    from letterrec.files.arrays import read_metadata

    within = read_metadata(folder / "checkpoint.safetensors")["within"]
    return int(within["step"]) if within else 0
