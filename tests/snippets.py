"""The fenced blocks of a Markdown page, for tests that run what the documentation shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
_FENCE = re.compile(
    r'^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: what stands behind the fence, such as ``sh`` or ``python``.
        title: the name of the file that the block is; empty where it is none.
        text: what is between the fences.
    """

    language: str
    title: str
    text: str

    @property
    def commands(self) -> list[str]:
        r"""The lines of a ``sh`` block, those that end in ``\`` joined with the next."""
        return self.text.replace("\\\n", " ").splitlines()


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in its order."""
    found = _FENCE.finditer(page.read_text("utf-8"))
    return [Block(m["language"], m["title"] or "", m["text"]) for m in found]


def curl(words: Sequence[str], address: str) -> dict[str, Any] | None:
    """What a server answers to a ``curl`` of a page; None where there is no curl."""
    if not shutil.which("curl"):
        return None
    here = [word.replace("localhost:8000", address) for word in words]
    done = subprocess.run(["curl", *here], capture_output=True, check=True)
    return dict(json.loads(done.stdout))
