"""The shell completes commands and options."""

from __future__ import annotations

import os
import subprocess
import sys


def completions(words: str, place: int) -> list[str]:
    """What bash is offered for a line."""
    env = {"_LETTERREC_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(place)}
    code = "import sys; sys.argv = ['letterrec']; from letterrec.cli.app import main; main()"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_commands_and_options_are_completed() -> None:
    assert set(completions("letterrec rec", 1)) == {"recipes", "recommend"}
    assert "--where" in completions("letterrec recommend run --wh", 3)
