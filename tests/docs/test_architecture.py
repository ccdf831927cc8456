"""The page of the architecture names every room, and its example runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from snippets import DOCS, blocks
from test_floors import FLOORS

PAGE = DOCS / "ARCHITECTURE.md"


def test_every_room_is_on_the_map_in_the_order_of_the_floors() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    rooms = [row.split("`")[1].rstrip("/").removesuffix(".py") for row in rows]
    assert rooms[: len(FLOORS)] == list(FLOORS)


def test_the_example_of_a_baseline_runs(tmp_path: Path) -> None:
    (example,) = [block.text for block in blocks(PAGE) if block.language == "python"]
    assert len(example.strip().splitlines()) <= 40
    shutil.copytree(DOCS / "shop", tmp_path / "my-data")
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "recall@10" in done.stdout
