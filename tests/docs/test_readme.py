"""The README as a new user follows it: its commands run as they stand, in the order they come.

What stands in a block marked ``sh`` is run line by line in an empty folder, in a shell that finds
``letterrec`` and has no other settings; the folder gets what a user would bring. The exceptions:

- `SETTING_UP`: not run; CI does that itself, and quickstart fetches data.
- ``letterrec serve``: on a free port, asked by the first ``curl`` of SERVING.md, and stopped.
- `ONLY_PARSED`: these train a language model or dozens of runs, read published data sets, or are
  run in `tests/serving/test_wishes.py`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import typer

from letterrec.cli.app import app
from snippets import curl

ROOT = Path(__file__).parents[2]
SETTING_UP = ("git clone ", "make ", "source .venv/bin/activate", "pip install ")
ONLY_PARSED = (
    "letterrec reproduce ",
    "letterrec sweep ",
    "letterrec fit Beauty/ ",
    "letterrec fit Instruments/ ",
    "--recipe lcrec",
    " runs/lm ",
    " --set wishes.enabled=true",
    " runs/wishes ",
)
BLOCK = re.MULTILINE | re.DOTALL
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str = r"\w*") -> list[str]:
    """The fenced blocks of a page in a language."""
    text = page.read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=BLOCK)


def commands(block: str) -> list[str]:
    """The lines of a block, a continued line as one."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def parse(line: str) -> None:
    """Refuse a command that does not exist or has other options."""
    command: Any = typer.main.get_command(app)
    arguments = shlex.split(line, comments=True)[1:]
    with command.make_context("letterrec", arguments) as context:
        name, below, rest = command.resolve_command(context, arguments)
        below.make_context(name, rest, parent=context)


COMMANDS = [
    pytest.param(line, id=f"{page.name}: {line[:60]}")
    for page in PAGES
    for block in blocks(page)
    for line in commands(block)
    if line.startswith("letterrec ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_docs_exists(line: str) -> None:
    parse(line)


def test_no_page_tells_to_install_what_no_index_has() -> None:
    for page in PAGES:
        assert "pip install 'letterrec" not in page.read_text("utf-8"), page


def bring_data(folder: Path) -> None:
    """What the README takes to be there: small, but enough for every command."""
    items = [f"item-{i}" for i in range(1, 16)] + ["Tyler, The Creator"]
    users = [str(u) for u in range(35, 50)]
    bought = {u: [items[(n + step) % 16] for step in range(7 + n % 2)] for n, u in enumerate(users)}
    tables = folder / "my-data"
    tables.mkdir()
    lines = [f'{u},"{i}",{t}' for u, its in bought.items() for t, i in enumerate(its, start=1)]
    (tables / "interactions.csv").write_text("\n".join(["user,item,timestamp", *lines, ""]))
    lines = [f'"{i}",Title of {i.split(",")[0]},brand {n % 3}' for n, i in enumerate(items)]
    (tables / "items.csv").write_text("\n".join(["item,title,brand", *lines, ""]))
    (folder / "new-items.csv").write_text("item,title,brand\nnew-1,Title of new-1,brand 1\n")


def serve(line: str, folder: Path, environment: dict[str, str]) -> None:
    """Start a server as the line says, ask it, stop it."""
    command = ["bash", "-c", f"exec {line.partition('#')[0]} --port 0"]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        try:
            said = next(line for line in server.stderr if '"serving"' in line)
            address = json.loads(said)["address"]
            wait_for(f"{address}/readyz")
            shown = (line for b in blocks(ROOT / "docs" / "SERVING.md") for line in commands(b))
            first = next(line for line in shown if line.startswith("curl "))
            answer = curl(shlex.split(first)[1:], address)
            assert answer is None or len(answer["items"]) == 5
            server.terminate()
            server.communicate(timeout=60)
            assert server.returncode == 0
        finally:
            server.kill()


def wait_for(address: str) -> None:
    """Return when a server answers; it names its address shortly before it listens."""
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=60).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{address} does not answer")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_readme_as_a_new_user_follows_it(tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "letterrec"
    assert program.exists(), f"{program} is missing; install the package"
    environment = {"PATH": f"{program.parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    environment |= {k: os.environ[k] for k in ("PYTHONPATH", "OMP_NUM_THREADS") if k in os.environ}
    bring_data(tmp_path)
    page = (ROOT / "README.md").read_text("utf-8")
    found = re.findall(r"^```(sh|python)\n(.*?)^```", page, flags=BLOCK)
    assert {language for language, _ in found} == {"sh", "python"}
    for language, block in found:
        for line in [block] if language == "python" else commands(block):
            if line.startswith(SETTING_UP):
                continue
            if any(part in line for part in ONLY_PARSED):
                parse(line)
            elif line.startswith("letterrec serve "):
                serve(line, tmp_path, environment)
            else:
                shell = [sys.executable, "-c"] if language == "python" else ["bash", "-c"]
                done = subprocess.run(
                    [*shell, line], cwd=tmp_path, env=environment, capture_output=True, text=True
                )
                assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
                if "--json" in line:
                    assert isinstance(json.loads(done.stdout), dict)
                if language == "python":
                    shown = re.search(r"^```text\n(.*?)^```", page.partition(block)[2], BLOCK)
                    assert shown is not None
                    assert len(done.stdout.splitlines()) == len(shown[1].splitlines())
