"""What is said where there is no cluster, or no Ray to reach one with."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from command import letterrec
from conftest import write_shop

WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from letterrec.cli import app
app.main()
"""


def test_without_ray_one_line_says_what_to_install(tmp_path: Path) -> None:
    shop = write_shop(tmp_path / "shop")
    command = ["fit", str(shop), "--out", str(tmp_path / "run"), "--ray", "local"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "needs the package 'ray', which is not installed" in line
    assert re.search(r"run: pip install '[^']+\[ray\]'$", line)
    assert not (tmp_path / "run").exists()


def test_ray_is_imported_only_when_asked_for() -> None:
    code = (
        "import sys, letterrec, letterrec.cli.app, letterrec.cluster.connection, "
        "letterrec.cluster.fitting; assert not {'ray', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("somewhere", "expected auto, local, or HOST:PORT"),
        ("ray://10.0.0.1:10001", "expected auto, local, or HOST:PORT"),
        ("127.0.0.1:99999", "nothing answers there"),
    ],
)
def test_an_address_that_is_none_is_refused(
    address: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert letterrec("fit", tmp_path, "--out", tmp_path / "run", "--ray", address) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_an_address_at_which_nothing_listens_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        assert letterrec("fit", tmp_path, "--out", tmp_path / "run", "--ray", address) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nothing answers there (connection refused)" in line
    assert "ray start --head" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recommend", "RUN", "--user", "u1", "--ray", "local"], "--ray goes with --all-users"),
        (["fit", "SOURCE", "--out", "RUN", "--workers", "2"], "--workers goes with --ray"),
    ],
)
def test_what_goes_with_ray(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert letterrec(*words) == 2
    assert said in capsys.readouterr().err
