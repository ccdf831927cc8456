"""What the commands share: the program's own name, closed pipes, encodings that lack letters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from letterrec.cli.common import command_name


def test_the_program_is_named_as_this_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "letterrec"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program), "quickstart"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_name() == str(program)
    monkeypatch.setenv("PATH", str(program.parent))
    assert command_name() == "letterrec"
    monkeypatch.setattr(sys, "argv", ["/x/letterrec/__main__.py"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_name() == f"{sys.executable} -m letterrec"


@pytest.mark.parametrize("arguments", [["recipes"], ["--version"], ["fit", "--help"]])
def test_a_reader_that_has_enough_ends_the_command_quietly(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom letterrec.cli import app as cli\n"
        f"sys.argv = ['letterrec', *{arguments}]\n"
        "sys.stdin.readline()\ncli.main()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        process.stdout.close()
        process.stdin.write(b"go\n")
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


def test_letters_that_the_encoding_lacks_are_no_failure() -> None:
    code = (
        "from letterrec.cli.common import print_json\n"
        "from letterrec.cli import app as cli\nimport sys\n"
        "print_json({'title': 'Amélie'})\n"
        "sys.argv = ['letterrec', 'Amélie']\ncli.main()"
    )
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.stdout == b'{"title": "Am\\u00e9lie"}\n'
    assert done.returncode == 2
    assert b"No such command 'Am\\xe9lie'" in done.stderr
