"""The report of a run: one file that needs nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from letterrec import api
from letterrec.errors import RunError
from letterrec.evaluation.breakdowns import analyse, by_length, by_popularity
from letterrec.reports.html import _label, write_report
from letterrec.runs.run import Run


@pytest.fixture(scope="module")
def report(shop_run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(shop_run, tmp_path_factory.mktemp("report") / "r.html").read_text("utf-8")


def test_the_report_holds_every_part(report: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", report)
    assert titles == [
        "Metrics",
        "By popularity of the target",
        "By length of the history",
        "What is recommended at all",
        "Identifiers",
        "Embedding maps",
        "Training",
        "How it was made",
    ]
    assert report.count("Plotly.newPlot(") >= 8
    assert "cold_share" in report


def test_the_report_loads_nothing(report: str) -> None:
    own = re.sub(r"<script>/\*\*\s*\* plotly.*?</script>", "", report, flags=re.S)
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)""", own)
    assert "@import" not in own


def test_the_metrics_are_those_of_the_run(report: str, shop_run: Path) -> None:
    metrics = Run.open(shop_run).metrics()
    assert f"{metrics['test']['metrics']['recall@10']:.4f}" in report


def test_groups_add_up_to_the_whole(shop_run: Path) -> None:
    engine = api.load(shop_run, edits=False)
    found = analyse(engine.ranker, engine.dataset)
    recall = Run.open(shop_run).metrics()["test"]["metrics"]["recall@10"]
    for groups in (found.by_popularity, found.by_length):
        assert sum(g["cases"] for g in groups) == 150
        mean = sum(g["cases"] * g["metrics"]["recall@10"] for g in groups) / 150
        assert mean == pytest.approx(recall)
    assert found.lists["popularity"].coverage == pytest.approx(10 / 60)
    assert 0 < found.lists["letterrec"].gini < found.lists["popularity"].gini


def test_groups_without_cases_are_zero() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert all(g["cases"] == 0 for g in by_length(none, none))
    assert by_popularity(none, none, np.array([3, 1])) != []


def test_titles_are_shown_as_they_are_whole_entities_and_all() -> None:
    assert _label("<b>Bold</b> & \x1b[1m") == r"&lt;b&gt;Bold&lt;/b&gt; &amp; \x1b[1m"
    long = _label("&" * 200)
    assert long == "&amp;" * 120 + "…"


def test_a_place_that_cannot_be_written_is_told(shop_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        write_report(shop_run, tmp_path / "file" / "report.html")
