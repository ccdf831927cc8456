"""The wheel has everything that the package needs at work; `make packages` installs it."""

from __future__ import annotations

import tomllib
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder

import letterrec

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return ZipFile(path)


def test_every_file_of_the_package_is_in_it(wheel: ZipFile) -> None:
    there = {name for name in wheel.namelist() if ".dist-info/" not in name}
    ours = {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "letterrec").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there == ours
    assert "letterrec/py.typed" in there
    assert {Path(name).suffix for name in there} >= {".py", ".toml", ".html", ".js", ".css", ".svg"}


def test_what_it_says_of_itself(wheel: ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    about = message_from_string(wheel.read(name).decode())
    assert about["Version"] == letterrec.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    assert set(about.get_all("Provides-Extra", [])) == extras
    assert str(about.get_payload()).startswith("# LetterRec")
    points = wheel.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert "letterrec = letterrec.cli.app:main" in points


def test_every_extra_is_tried_by_make_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    from packages import WORKS

    assert set(WORKS) - {"core"} == set(project["optional-dependencies"]) - {"dev"}


def test_versions_of_the_tests_are_pinned() -> None:
    pinned = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line]
    assert all("==" in line for line in pinned if not line.startswith("#"))
    assert "torch==2.13.0" in pinned
