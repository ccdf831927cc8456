"""The command line, called in this process."""

from __future__ import annotations

import sys

from letterrec import cli


def letterrec(*arguments: str) -> int:
    """Run ``letterrec ARGUMENTS``; its exit code."""
    argv, sys.argv = sys.argv, ["letterrec", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = argv
    return 0
