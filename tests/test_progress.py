"""Text from elsewhere on a terminal: shown as it is, and without effect on the terminal."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from letterrec import api, progress
from letterrec.data.ids import split_ids
from letterrec.errors import RequestError
from letterrec.progress import Terminal, command_name, table, visible
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
    with progress.counting("embedding (models/exp[1] [/red])", 2) as counter:
        counter.advance(note="[/x]\x1b[2J")
        progress.say("reading [a] :smile: \x1b[2J")
    assert "exp[1] [/red]" in shown(out)
    assert r"[/x]\x1b[2J" in shown(out)
    assert r"reading [a] :smile: \x1b[2J" in shown(out)


@pytest.mark.slow
def test_a_list_of_recommendations_shows_titles_as_they_are(shop_run: Path) -> None:
    from dataclasses import replace

    engine = api.load(shop_run)
    titles = [*TITLES, *engine.catalogue.titles[len(TITLES) :]]
    engine.catalogue = replace(engine.catalogue, titles=tuple(titles))
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


def test_the_program_is_named_as_this_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "letterrec"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program), "quickstart"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_name() == str(program)
    monkeypatch.setenv("PATH", str(program.parent))
    assert command_name() == "letterrec"
    monkeypatch.setattr(sys, "argv", ["/x/letterrec/__main__.py"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_name() == f"{sys.executable} -m letterrec"


@pytest.mark.parametrize("arguments", [["recipes"], ["--version"], ["fit", "--help"]])
def test_a_reader_that_has_enough_ends_the_command_quietly(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom letterrec.cli import app as cli\n"
        f"sys.argv = ['letterrec', *{arguments}]\n"
        "sys.stdin.readline()\ncli.main()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        process.stdout.close()
        process.stdin.write(b"go\n")
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


def test_letters_that_the_encoding_lacks_are_no_failure() -> None:
    code = (
        "from letterrec.progress import Terminal, print_json\n"
        "from letterrec.cli import app as cli\nimport sys\n"
        "print_json({'title': 'Amélie'})\n"
        "sys.argv = ['letterrec', 'Amélie']\ncli.main()"
    )
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.stdout == b'{"title": "Am\\u00e9lie"}\n'
    assert done.returncode == 2
    assert b"No such command 'Am\\xe9lie'" in done.stderr
