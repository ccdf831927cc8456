"""Dotted names of the package, in docstrings and on pages, are of what there is."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import letterrec
from letterrec.config.reference import settings_reference
from snippets import DOCS

SOURCE = Path(letterrec.__file__).parent
NAME = re.compile(r"(?<!`)`([a-z_]\w*(?:\.\w+)+)(?:\(\))?`(?!`)")
FENCE = re.compile(r"^```.*?^```", re.M | re.S)
MODULES = {m.name for m in pkgutil.walk_packages(letterrec.__path__, "letterrec.")}
SETTINGS = {setting.key for section in settings_reference() for setting in section.settings}
VARIABLES = {"engine.identifiers"}  # of the examples
FILES = {"csv", "json", "parquet", "py", "toml", "txt"}
# Pages that tell of earlier versions, with the names of then.
HISTORY = {"LOG.md", "DECISIONS.md", "RESULTS.md"}


def docstrings() -> Iterator[tuple[str, str]]:
    """Where a docstring stands, and its text."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield str(path.relative_to(SOURCE)), ast.get_docstring(node) or ""


def pages() -> Iterator[tuple[str, str]]:
    """The name of a page, and its text without fenced blocks."""
    for path in (*DOCS.glob("*.md"), DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md"):
        if path.name not in HISTORY:
            yield path.name, FENCE.sub("", path.read_text("utf-8"))


def is_of_the_package(name: str) -> bool:
    """Whether a dotted name begins with a module's, and is no file and no setting."""
    parts = name.removeprefix("letterrec.").split(".")
    if name in SETTINGS or name in VARIABLES or parts[-1] in FILES:
        return False
    return any(f".{parts[0]}." in f"{module}." for module in MODULES)


def resolves(name: str) -> bool:
    """Whether a module, or an attribute of one, ends in a dotted name."""
    parts = name.removeprefix("letterrec.").split(".")
    for n in range(len(parts), 0, -1):
        tail = "." + ".".join(parts[:n])
        for module in MODULES:
            if module.endswith(tail) and has(importlib.import_module(module), parts[n:]):
                return True
    return False


def has(thing: object, names: list[str]) -> bool:
    for name in names:
        if not hasattr(thing, name):
            return name in getattr(thing, "__annotations__", {})
        thing = getattr(thing, name)
    return True


def test_a_name_that_is_gone_is_found() -> None:
    assert resolves("decoding.beam_search.search")
    assert resolves("letterrec.data.sequences.Histories.take")
    assert not resolves("recommenders.tasks.history")
    assert is_of_the_package("recommenders.tasks.history")


@pytest.mark.parametrize("texts", [docstrings, pages])
def test_dotted_names_resolve(texts: object) -> None:
    assert callable(texts)
    gone = [
        f"{place}: {name}"
        for place, text in texts()
        for name in NAME.findall(text)
        if is_of_the_package(name) and not resolves(name)
    ]
    assert gone == []
