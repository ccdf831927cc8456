"""The tutorial's commands, the Python page and the notebook do what they say."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from command import letterrec
from docs_module import docs_module
from snippets import DOCS, blocks, curl


@dataclass
class Walked:
    """What a reader has after the tutorial: the folder, what was printed, the server's answer."""

    folder: Path
    printed: str
    answer: dict[str, Any] | None


@contextmanager
def serving(words: list[str]) -> Iterator[int]:
    """Run a command that serves on a free port; the port, once it answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    command = [sys.executable, "-m", "letterrec.cli", *words, "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while True:
            assert process.poll() is None, f"letterrec {shlex.join(words)} ended"
            assert time.monotonic() < deadline, f"letterrec {shlex.join(words)} does not answer"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10).close()
                break
            except OSError:
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    """The tutorial, command by command, in a folder with its shop."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(DOCS / "shop", folder / "shop")
    printed, answer, port = StringIO(), None, 0
    with ExitStack() as stack:
        stack.enter_context(chdir(folder))
        stack.enter_context(redirect_stdout(printed))
        for block in blocks(DOCS / "TUTORIAL.md"):
            if block.title:
                Path(block.title).write_text(block.text)
            for line in block.commands if block.language == "sh" else []:
                program, *words = shlex.split(line)
                if words[0] == "serve":
                    port = stack.enter_context(serving(words))
                elif program == "curl":
                    answer = curl(words, f"127.0.0.1:{port}")
                else:
                    assert program == "letterrec", line
                    assert letterrec(*words) == 0, line
        yield Walked(folder, printed.getvalue(), answer)


@pytest.mark.slow
def test_the_tutorials_commands_run(walked: Walked) -> None:
    assert (walked.folder / "runs/shop/report.html").is_file()
    assert "test, 200 users" in walked.printed
    assert "iris-serum" in walked.printed
    if walked.answer is not None:
        shown = next(b.text for b in blocks(DOCS / "TUTORIAL.md") if b.language == "json")
        items = walked.answer["items"]
        assert len(items) == 2
        assert "aloe-serum" not in {item["item"] for item in items}
        assert items[0].keys() == json.loads(shown)["items"][0].keys()


@pytest.mark.slow
def test_the_python_page_runs(walked: Walked) -> None:
    names: dict[str, Any] = {}
    printed = StringIO()
    with chdir(walked.folder), redirect_stdout(printed):
        for block in blocks(DOCS / "PYTHON.md"):
            if block.language == "python":
                exec(compile(block.text, "PYTHON.md", "exec"), names)
    assert "'aloe-tonic'" in printed.getvalue()
    assert "(48, 384) (48, 32) (48, 4) (4, 16, 32) (48, 32)" in printed.getvalue()
    assert (walked.folder / "map.html").is_file()


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = docs_module("run_notebook")
    monkeypatch.setattr(module, "picture", lambda figure: "")  # that takes a browser
    kept = json.loads((DOCS / "tutorial.ipynb").read_text("utf-8"))
    codes = [cell for cell in kept["cells"] if cell["cell_type"] == "code"]
    before = [[output["output_type"] for output in cell["outputs"]] for cell in codes]
    assert sum(map(len, before)) > 5, "run docs/run_notebook.py"
    done = module.run_notebook(kept, tmp_path)
    codes = [cell for cell in done["cells"] if cell["cell_type"] == "code"]
    assert [[output["output_type"] for output in cell["outputs"]] for cell in codes] == before
    assert pl.read_csv(tmp_path / "shop/interactions.csv").equals(
        pl.read_csv(DOCS / "shop/interactions.csv")
    )


def test_pages_name_commands_that_exist() -> None:
    commands = docs_module("pages").commands_page()
    known = set(re.findall(r"^## (\S+)$", commands, re.M))
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        for block in blocks(page):
            if block.language in ("", "sh"):
                for line in block.commands:
                    used = re.match(r"letterrec (\S+)", line)
                    assert used is None or used[1] in known, (page.name, line)
