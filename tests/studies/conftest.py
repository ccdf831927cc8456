"""The data that studies are tested on."""

from __future__ import annotations

from pathlib import Path

import pytest

from rings import write_rings


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets."""
    return write_rings(tmp_path_factory.mktemp("data"))
