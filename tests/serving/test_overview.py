"""What an engine shows of itself in a notebook."""

from __future__ import annotations

import csv
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

import letterrec
from conftest import write_shop
from domains import write_domains
from letterrec.serving.editing.editor import Editor
from letterrec.serving.editing.edits import SetStates


class Shown(HTMLParser):
    """The rows of an HTML table, and the code below it."""

    def __init__(self, engine: letterrec.Engine) -> None:
        super().__init__()
        self.rows: dict[str, str] = {}
        self.code = ""
        self._cells: list[str] = []
        self._tag = ""
        self.feed(engine._repr_html_())

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._tag = tag

    def handle_data(self, data: str) -> None:
        if self._tag == "td":
            self._cells.append(data)
        elif self._tag == "pre":
            self.code += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr" and self._cells:
            name, value = self._cells
            self.rows[name], self._cells = value, []


@pytest.mark.slow
def test_an_engine_shows_what_it_is_and_how_it_is_asked(tmp_path: Path) -> None:
    shop = write_shop(tmp_path / "shop")
    run = letterrec.fit(shop, tmp_path / "run", recipe="slist", progress=False)
    engine = letterrec.load(run)
    Editor(engine).make(SetStates({"i01": "blocked", "i02": "deleted"}))
    shown = Shown(engine)
    assert shown.rows == {
        "run": run.id,
        "recommender": "slist",
        "items": "58, 1 blocked, 1 deleted",
        "users": "150",
        "history": "the latest 20 items of it are read",
        "where=": "brand",
    }
    (answer,) = eval(shown.code, {"engine": engine})
    assert len(answer) == 5


@pytest.mark.slow
def test_domains_and_targets_are_shown_where_there_are_any(tmp_path: Path) -> None:
    sources = write_domains(tmp_path)
    joined = {"data.join_users": True}
    run = letterrec.fit(sources, tmp_path / "both", joined, recipe="slist", progress=False)
    assert Shown(letterrec.load(run)).rows["domain="] == "books, games"

    shop = write_shop(tmp_path / "shop")
    with (shop / "interactions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    with (shop / "interactions.csv").open("w", newline="") as file:
        kinds = ["view", "buy"]
        told = [[*row, kinds[i % 2]] for i, row in enumerate(rows)]
        csv.writer(file).writerows([[*header, "behaviour"], *told])
    buys = {"data.targets": ["buy"]}
    run = letterrec.fit(shop, tmp_path / "run", buys, recipe="slist", progress=False)
    shown = Shown(letterrec.load(run)).rows
    assert shown["recommends for"] == "buy"
    assert "behaviour=" not in shown  # a baseline cannot be asked for another


def test_wishes_are_shown_where_they_are_read(wishing_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(wishing_run, tmp_path / "run")
    assert "wish" in Shown(letterrec.load(run)).rows["instruction="]
