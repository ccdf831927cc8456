"""Text from elsewhere on a terminal: shown as it is, and without effect on the terminal."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

import letterrec
from letterrec import api, progress
from letterrec.data.ids import split_ids
from letterrec.errors import RequestError
from letterrec.progress import Terminal, table, visible
from letterrec.reports.text import recommendation_table

# A title -> how it is shown.
TITLES = {
    "The Matrix [the Sequence]": "The Matrix [the Sequence]",
    "Movie [/import]": "Movie [/import]",
    "[/]": "[/]",
    "[bold red]Loud[/bold red]": "[bold red]Loud[/bold red]",
    "a :smile: and :)": "a :smile: and :)",
    "<b>Bold</b> &amp;": "<b>Bold</b> &amp;",
    "\x1b[31mred\x1b[0m": r"\x1b[31mred\x1b[0m",
    "two\nlines\r\tand a bell\a": r"two\nlines\r\tand a bell\x07",
    "turned \u202efdp.exe": r"turned \u202efdp.exe",
    "half a \ud800 pair": r"half a \ud800 pair",
    "أهلا أخضر": "أهلا أخضر",
    "緑茶 セット": "緑茶 セット",
    "👍🏽 Soap": "👍🏽 Soap",
    r"C:\new": r"C:\new",
}


def terminal(width: int) -> Terminal:
    return Terminal(file=io.StringIO(), width=width, color_system="truecolor", force_terminal=True)


def shown(out: Terminal) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@pytest.mark.parametrize("title", TITLES)
def test_a_title_is_printed_as_it_is(title: str) -> None:
    assert visible(title) == TITLES[title]
    out = terminal(100)
    out.print(title)
    assert shown(out) == TITLES[title] + "\n"


def test_columns_align_whatever_the_titles() -> None:
    out, rows = terminal(100), table("title", "item")
    for title in TITLES:
        rows.add_row(title, "ITEM")
    out.print(rows)
    lines = [line for line in shown(out).splitlines() if "ITEM" in line]
    for line, title in zip(lines, TITLES, strict=True):
        assert TITLES[title] in line
    assert len({cell_len(line.partition("ITEM")[0]) for line in lines}) == 1


def test_nothing_is_cut_in_a_narrow_terminal() -> None:
    out, rows = terminal(40), table("item", "title", whole=("item",))
    rows.add_row("B00-LONG-IDENTIFIER-1", "a" * 100)
    out.print(rows)
    assert "B00-LONG-IDENTIFIER-1" in shown(out)
    assert shown(out).count("a") == 100
    assert "…" not in shown(out)


def test_progress_labels_and_notes_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    out = terminal(100)
    monkeypatch.setattr(progress, "console", out)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    label = "embedding (models/exp[1] [/red])"
    with progress.shown(), progress.counting(label, 2) as counter:
        counter.advance(note="[/x]\x1b[2J")
        progress.say("reading [a] :smile: \x1b[2J")
    assert "exp[1] [/red]" in shown(out)
    assert r"[/x]\x1b[2J" in shown(out)
    assert r"reading [a] :smile: \x1b[2J" in shown(out)


def test_the_library_logs_and_shows_only_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    out = terminal(100)
    monkeypatch.setattr(progress, "console", out)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    caplog.set_level(logging.INFO, "letterrec")

    def report(name: str) -> None:
        with progress.counting(f"bar {name}", 1) as counter:
            counter.advance()
        progress.say(f"  line {name}\x1b[2J")

    report("before")
    with progress.shown():
        report("in")
        with progress.shown(False):
            report("within")
        with pytest.raises(ZeroDivisionError), progress.shown(False):
            _ = 1 / 0
        progress.say("line again")
    report("after")
    for name, is_shown in {"before": False, "in": True, "within": False, "after": False}.items():
        assert (f"bar {name}" in shown(out)) == is_shown
        assert (f"line {name}" in shown(out)) == is_shown
        assert rf"line {name}\x1b[2J" in caplog.messages
    assert "line again" in shown(out)


def test_a_bar_that_is_not_shown_is_logged(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY", 0.0)
    caplog.set_level(logging.INFO, "letterrec")
    with progress.counting("ranking", 8) as counter:
        counter.advance(3, note="loss 0.5")
    assert caplog.messages == ["ranking: 3/8 loss 0.5"]
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_without_progress_nothing_is_printed(
    shop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changed = {
        "collaborative.training.epochs": 1,
        "tokenizer.training.epochs": 1,
        "training.epochs": 1,
        "recommender.dim": 16,
    }
    letterrec.fit(shop, tmp_path / "run", changed, progress=False)
    letterrec.evaluate(tmp_path / "run", progress=False)
    letterrec.load(tmp_path / "run").recommend([["i01"]])
    assert capfd.readouterr() == ("", "")
    letterrec.fit(shop, tmp_path / "run", changed, resume=True)
    assert "this run is finished" in capfd.readouterr().err


@pytest.mark.slow
def test_a_list_of_recommendations_shows_titles_as_they_are(shop_run: Path) -> None:
    from dataclasses import replace

    engine = api.load(shop_run)
    titles = [*TITLES, *engine.catalogue.titles[len(TITLES) :]]
    engine.catalogue = replace(engine.catalogue, came_with=tuple(titles))
    out = terminal(160)
    out.print(recommendation_table(engine, [(i, -1.0) for i in engine.catalogue.item_ids]))
    for title in TITLES:
        assert TITLES[title] in shown(out)


def test_ids_are_taken_as_from_a_line_of_csv() -> None:
    assert split_ids("a, b,,c", "--block") == ["a", "b", "c"]
    assert split_ids('"Tyler, The Creator",Other', "--block") == ["Tyler, The Creator", "Other"]
    assert split_ids('"""Heroes""",12" Single', "--block") == ['"Heroes"', '12" Single']
    assert split_ids("", "--block") == []
    for text, answer in (('"Tyler, The', "quote an id that has a comma"), ("a,NaN", "'NaN'")):
        with pytest.raises(RequestError, match=answer):
            split_ids(text, "--history")
