"""A file of docs/ as a module: it is no package."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from snippets import DOCS


def docs_module(name: str) -> ModuleType:
    """The module of `docs/NAME.py`."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
