"""The public surface: what is promised is there, and nothing else is promised."""

from __future__ import annotations

import subprocess
import sys

import letterrec


def test_all_is_pinned_and_importable() -> None:
    assert letterrec.__all__ == [
        "Dataset",
        "Engine",
        "LetterRecError",
        "Settings",
        "evaluate",
        "fit",
        "inspect",
        "load",
        "load_settings",
        "read",
    ]
    for name in letterrec.__all__:
        assert getattr(letterrec, name) is not None


def test_importing_the_package_is_quick() -> None:
    code = "import sys, letterrec; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
