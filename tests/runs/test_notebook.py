"""What a run, its metrics and its recommendations show of themselves in a notebook."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

import letterrec
from conftest import write_shop
from letterrec.runs.notebook import ShownLists, html_table


class Cells(HTMLParser):
    """The texts of a table's cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.slow
def test_a_run_its_metrics_and_lists_show_themselves(tmp_path: Path) -> None:
    shop = write_shop(tmp_path / "shop")
    run = letterrec.fit(shop, tmp_path / "run", recipe="slist", progress=False)
    metrics = letterrec.evaluate(run, progress=False)
    lists = letterrec.load(run).recommend([["i01"], ["i07"]], k=3)
    recall = f"{metrics['metrics']['recall@10']:.4f}"
    assert {"read", "evaluation", "recall@10", recall} <= set(Cells(run._repr_html_()).texts)
    assert {"recall@10", recall} <= set(Cells(metrics._repr_html_()).texts)  # type: ignore[attr-defined]
    shown = Cells(lists._repr_html_()).texts  # type: ignore[attr-defined]
    first = lists[0][0][0]
    assert {first, letterrec.load(run).titles[first], "history 2"} <= set(shown)
    assert json.loads(json.dumps(metrics)) == metrics
    assert lists == [list(answer) for answer in lists]


def test_text_is_escaped_and_long_results_are_cut() -> None:
    assert "<script>" not in html_table(["<script>"], [["<script>"]], "<script>")
    lists = ShownLists([[("a", -1.0)]] * 30, {"a": "<b>A</b>"}.__getitem__, "log_probability")
    html = lists._repr_html_()
    assert "&lt;b&gt;A&lt;/b&gt;" in html
    assert "and 10 more" in html
    assert len(lists) == 30
