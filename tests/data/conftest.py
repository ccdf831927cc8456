"""Small writers of real files, and a readable view of what was read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from letterrec.data import Dataset


@pytest.fixture
def sequences_of() -> Callable[[Dataset], dict[str, list[str]]]:
    """A data set as {user id: [item ids in order]}."""

    def sequences(dataset: Dataset) -> dict[str, list[str]]:
        return {
            user: [dataset.item_ids[i] for i in items]
            for user, items in zip(dataset.user_ids, dataset.interactions, strict=True)
        }

    return sequences


@pytest.fixture
def write_lines() -> Callable[[Path, Iterable[Any]], Path]:
    """Writes JSON lines (a text is written as it is), gzipped where the name says so."""

    def write(path: Path, rows: Iterable[Any]) -> Path:
        text = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows)
        content = text.encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return path

    return write


@pytest.fixture
def write_table() -> Callable[[pl.DataFrame, Path], Path]:
    """Writes a table as the file's name says: CSV, Parquet or JSON lines."""

    def write(frame: pl.DataFrame, path: Path) -> Path:
        kinds: dict[str, Callable[[Path], Any]] = {
            ".csv": frame.write_csv,
            ".parquet": frame.write_parquet,
            ".jsonl": frame.write_ndjson,
        }
        kinds[path.suffix](path)
        return path

    return write
