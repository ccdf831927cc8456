"""The pages that are made when the site is built, and what the repository says of itself."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import tomllib
from collections.abc import Iterable

import pytest
import yaml

import letterrec
from docs_module import docs_module
from snippets import DOCS, Block, blocks

ROOT = DOCS.parent
pages = docs_module("pages")


def test_every_module_has_a_place_in_the_reference() -> None:
    listed = [module for modules in pages.rooms().values() for module in modules]
    walked = [m.name for m in pkgutil.walk_packages(letterrec.__path__, "letterrec.")]
    assert sorted(listed) == sorted(walked)
    for room, modules in pages.rooms().items():
        assert modules[0] == room
        assert all(f"::: {module}\n" in pages.modules_page(modules) for module in modules)


def test_the_first_page_leads_to_every_page() -> None:
    site = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), yaml.BaseLoader)
    listed = {page for entry in site["nav"] for page in _pages_of(entry)} - {"index.md"}
    first = (DOCS / "index.md").read_text("utf-8")
    assert listed - {"reference/python.md"} <= set(re.findall(r"\]\(([^)#]+)", first))
    assert {page.name for page in DOCS.glob("*.md")} <= listed | {"index.md"}


def _pages_of(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    inside = entry.values() if isinstance(entry, dict) else entry
    assert isinstance(inside, Iterable)
    return [page for part in inside for page in _pages_of(part)]


def test_the_public_page_names_what_is_promised() -> None:
    directives = re.findall(r"^::: (\S+)$", pages.public_page(), re.M)
    assert [d.rpartition(".")[2] for d in directives] == letterrec.__all__
    for directive in directives:
        module, _, name = directive.rpartition(".")
        assert getattr(importlib.import_module(module), name) is not None


def test_the_settings_page_has_all_recipes_and_keys() -> None:
    page = pages.settings_page()
    assert "### quickstart" in page
    assert "### paper-letter-tiger" in page
    assert "| `collaborative.training.epochs` |" in page


@pytest.mark.slow
def test_the_page_of_commands_shows_their_help() -> None:
    page = pages.commands_page()
    for command in ("fit", "evaluate", "settings", "reproduce"):
        assert f"## {command}\n" in page
    assert "--resume" in page
    assert "\x1b" not in page


def test_a_notebook_becomes_a_page() -> None:
    page = pages.notebook_page(DOCS / "tutorial.ipynb")
    assert page.startswith("# A shop in a notebook")
    assert "```python\nimport letterrec\n" in page
    assert '<pre class="output">200 users, 48 items, 1600 interactions' in page
    assert "data:image/png;base64,iVBOR" in page


@pytest.mark.parametrize(
    ("tag", "is_loaded"),
    [
        ('<script src="https://example.org/x.js"></script>', True),
        ('<link href="//fonts.example.org/css" rel="stylesheet">', True),
        ("<img alt=x src=http://example.org/x.png>", True),
        ('<a href="https://example.org">', False),
        ('<script src="../assets/x.js"></script>', False),
    ],
)
def test_what_a_page_would_load_from_elsewhere_is_found(tag: str, is_loaded: bool) -> None:
    assert bool(pages.LOADED.search(tag)) == is_loaded


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in DOCS.glob("*.md"):
        assert f": {page.name}\n" in text, page.name


def test_blocks_are_taken_apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    page = tmp_path_factory.mktemp("pages") / "page.md"
    page.write_text(
        'a\n```sh\nx \\\n  y\nz\n```\nb\n```csv title="n.csv"\ni\n```\n```\nplain\n```\n'
    )
    assert blocks(page) == [
        Block("sh", "", "x \\\n  y\nz\n"),
        Block("csv", "n.csv", "i\n"),
        Block("", "", "plain\n"),
    ]
    assert blocks(page)[0].commands == ["x    y", "z"]


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == letterrec.__version__
    assert citation["license"] == project["license"]
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["references"][0]["doi"] == "10.1145/3627673.3679569"


def test_the_notebook_is_one() -> None:
    notebook = json.loads((DOCS / "tutorial.ipynb").read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
