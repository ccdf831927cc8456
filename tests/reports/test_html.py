"""The report of a run: one file that needs nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from letterrec import api
from letterrec.errors import RunError
from letterrec.evaluation.breakdowns import analyse, by_length, by_popularity
from letterrec.reports.html import write_report
from letterrec.reports.markup import label
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
        "Recommendations for five users",
        "Identifiers",
        "Embedding maps",
        "Training",
        "How it was made",
    ]
    for title in titles:  # the list of contents leads to each
        anchor = title.lower().replace(" ", "-")
        assert f'href="#{anchor}">{title}</a>' in report
        assert f'id="{anchor}"' in report
    assert "cold_share" in report


def test_the_report_is_small(report: str) -> None:
    assert len(report.encode()) < 1_000_000


def test_each_curve_and_each_level_has_a_panel_of_its_own(report: str, shop_run: Path) -> None:
    run = Run.open(shop_run)
    panels = re.findall(r"<figcaption>(.*?)</figcaption><svg", report)
    names = {n for e in run.training_log("tokenizer").epochs for n in e} - {"epoch", "seconds"}
    assert names <= set(panels)
    for level in range(1, 5):
        assert sum(p.startswith(f"Level {level}: ") for p in panels) == 1  # Fig. 6
        assert re.search(rf'aria-pressed="{str(level == 1).lower()}">Level {level}<', report)  # 7


def test_sasrec_and_intervals_stand_beside_the_metrics(report: str, shop_run: Path) -> None:
    result = Run.open(shop_run).metrics()["test"]
    mean, error = result["metrics"]["recall@10"], result["standard_errors"]["recall@10"]
    assert f"{mean:.4f} ± {1.96 * error:.4f}" in report
    rows = re.findall(r'<th scope="row">(.*?)</th>', report)
    beside = ["SASRec", "popularity"]
    assert rows[:6] == ["test, 150 users", *beside, "valid, 150 users", *beside]


def test_empty_groups_are_dashes(report: str) -> None:
    row = r'<tr><th scope="row">21 or more</th><td>0</td><td>(.*?)</td><td>(.*?)</td></tr>'
    found = re.search(row, report)
    assert found is not None
    assert found.groups() == ("-", "-")


def test_five_users_are_shown_with_what_came_next(report: str, shop_run: Path) -> None:
    engine = api.load(shop_run, edits=False)
    rows = re.findall(r'<tr><th scope="row" data-name="User">(.*?)</th>(.*?)</tr>', report)
    assert len(rows) == 5
    cases = engine.dataset.held_out("test")
    for user, row in rows:
        case = int(np.flatnonzero(cases.users == engine.dataset.user_rows[user])[0])
        target = engine.dataset.titles[cases.targets[case]]
        past, items, after = re.findall(r"<td data-name=.*?>(.*?)</td>", row)
        assert after == target
        assert items.count("<li") == 5
        newest = engine.dataset.titles[cases.histories[case][-1]]
        assert past.startswith(f"<ul><li>{newest}</li>")
        assert (f"<li class=hit>{target}</li>" in items) == (f">{target}</li>" in items)


def test_every_stage_that_was_trained_has_curves(wishing_run: Path, tmp_path: Path) -> None:
    report = write_report(wishing_run, tmp_path / "r.html").read_text("utf-8")
    trained = {folder.name for folder in Run.open(wishing_run).files.training.iterdir()}
    assert "wishes" in trained
    for stage in trained:
        assert f"<h3>{stage}</h3>" in report


def test_the_report_loads_nothing(report: str) -> None:
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)""", report)
    assert "@import" not in report


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
    assert label("<b>Bold</b> & \x1b[1m") == r"&lt;b&gt;Bold&lt;/b&gt; &amp; \x1b[1m"
    long = label("&" * 200)
    assert long == "&amp;" * 80 + "…"


def test_a_place_that_cannot_be_written_is_told(shop_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        write_report(shop_run, tmp_path / "file" / "report.html")
