"""A tiny data set in LETTER's layout, with identifiers and CF embeddings and without text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

N_ITEMS, N_USERS = 30, 40
QUICK = [
    "collaborative.training.epochs=2",
    "tokenizer.training.epochs=3",
    "tokenizer.codes=8",
    "tokenizer.hidden=[32]",
    "training.epochs=1",
    "training.batch_size=64",
    "recommender.dim=16",
    "recommender.layers=1",
    "evaluation.beam=10",
]


def write_rings(parent: Path) -> Path:
    """A folder of data sets with one in it, called Beauty: the paper has figures for that name."""
    folder = parent / "Beauty"
    folder.mkdir()
    (parent / "notes").mkdir()
    random = np.random.default_rng(1)
    starts = random.integers(N_ITEMS, size=N_USERS)
    lengths = random.integers(5, 9, size=N_USERS)
    sequences = {
        str(user): [int((start + step) % N_ITEMS) for step in range(length)]
        for user, (start, length) in enumerate(zip(starts, lengths, strict=True))
    }
    codes = {str(i): [f"<a_{i % 8}>", f"<b_{i // 8}>"] for i in range(N_ITEMS)}
    (folder / "Beauty.inter.json").write_text(json.dumps(sequences))
    (folder / "Beauty.index.json").write_text(json.dumps(codes))
    cf = torch.from_numpy(random.normal(size=(N_ITEMS, 32)).astype(np.float32))
    torch.save(cf, folder / "Beauty-32d-sasrec.pt")
    return parent
