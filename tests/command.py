"""The command line, called in this process."""

from __future__ import annotations

import sys
from pathlib import Path

from letterrec.cli import app as cli


def letterrec(*arguments: str | Path) -> int:
    """Run ``letterrec ARGUMENTS``; its exit code."""
    argv, sys.argv = sys.argv, ["letterrec", *(str(a) for a in arguments)]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = argv
    return 0
