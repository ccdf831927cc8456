"""A run that another user fitted: what may not be read is told as that."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import letterrec
from letterrec.errors import LetterRecError

_NOBODY = 65534


@pytest.fixture
def readable_run(shop_run: Path) -> Iterator[Path]:
    """A copy of the shop's run in a folder that every user can enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        run = Path(shutil.copytree(shop_run, Path(folder) / "run"))
        yield run


@contextmanager
def as_another_user() -> Iterator[None]:
    """Root may read everything, so that a test that root runs becomes nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_run_fitted_by_one_user_is_served_by_another(readable_run: Path) -> None:
    letterrec.load(readable_run)  # imports all it needs while it may
    with as_another_user():
        assert letterrec.load(readable_run).recommend([["i05"]], k=1)


@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        "settings.toml",
        "data/items.parquet",
        "data/interactions.parquet",
        "identifiers.parquet",
        "content.safetensors",
        "recommender.safetensors",
        "transitions.safetensors",
        "catalogue.parquet",
    ],
)
def test_a_file_that_may_not_be_read_is_told_as_that(readable_run: Path, name: str) -> None:
    letterrec.load(readable_run)
    path = readable_run / name
    if not path.exists():
        shutil.copy(readable_run / "identifiers.parquet", path)
    path.chmod(0)
    with as_another_user(), pytest.raises(LetterRecError) as refused:
        letterrec.load(readable_run)
    assert str(refused.value).startswith(f"{path}: permission denied; ")


def test_a_run_whose_folder_may_not_be_entered(readable_run: Path) -> None:
    letterrec.load(readable_run)
    readable_run.chmod(0)
    try:
        with as_another_user(), pytest.raises(LetterRecError, match="permission denied"):
            letterrec.load(readable_run)
    finally:
        readable_run.chmod(0o755)
