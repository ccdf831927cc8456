"""Mistakes in what `fit`, `read` and the commands are given: one line each, and nothing left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import letterrec
from command import letterrec as command
from letterrec.errors import DataError, RunError, SettingsError

LOG = "user,item,timestamp\n" + "".join(
    f"u{u},{i},{1_500_000_000 + t}\n" for u in range(3) for t, i in enumerate("abc")
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "shop" / "interactions.csv"
    path.parent.mkdir()
    path.write_text(LOG)
    return path


@pytest.mark.parametrize("out", ["/dev/null/x", "x" * 300, "a\0b"])
def test_a_run_folder_that_cannot_be(log: Path, out: str) -> None:
    with pytest.raises(RunError) as caught:
        letterrec.fit(log, out=out)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_run_folder_that_cannot_be_on_the_command_line(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("fit", log, "--out", "/dev/null/x") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("verb", ["serve", "inspect", "evaluate", "report"])
def test_a_run_that_is_none_is_one_line(
    verb: str, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(verb, str(log.parent / "nope")) == 2
    said = capsys.readouterr().err
    assert "nope does not exist; make one with" in said
    assert said.count("\n") == 1
    assert command(verb, str(log)) == 2
    assert "is a file; expected the folder of a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"k_core": "5"}, "k_core is '5'; expected 0"),
        ({"k_core": 2.5}, "k_core is 2.5"),
        ({"k_core": True}, "k_core is True"),
        ({"min_rating": "x"}, "min_rating is 'x'; expected a finite number"),
        ({"columns": "user=a"}, "columns is 'user=a'; expected a dict"),
        ({"columns": [1]}, r"columns is \[1\]; expected a dict"),
        ({"columns": {"user": 3}}, "columns has 3 for 'user'"),
        ({"columns": {"user": "item", "item": "item"}}, "'item' was given for both 'user' and"),
        ({"cache": 3}, "cache is 3; expected the path"),
    ],
)
def test_options_of_read(log: Path, options: dict[str, Any], answer: str) -> None:
    with pytest.raises(DataError, match=answer):
        letterrec.read(log, **options)


def test_a_source_of_too_long_a_name() -> None:
    with pytest.raises(DataError, match=r"x\.\.\. cannot be opened \(File name too long\)"):
        letterrec.read("x" * 300)


def test_a_source_that_is_not_there_leaves_no_run(
    tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("fit", tmp_path / "nothere", "--out", tmp_path / "q") == 2
    assert "nothere does not exist" in capsys.readouterr().err
    twice = "user=item,item=item"
    assert command("fit", log, "--out", tmp_path / "q", "--columns", twice) == 2
    assert "'item' was given for both 'user' and 'item'" in capsys.readouterr().err
    two = "user=user,user=item"
    assert command("fit", log, "--out", tmp_path / "q", "--columns", two) == 2
    assert "'user' is given twice, as 'user' and 'item'" in capsys.readouterr().err
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize(
    ("line", "help_of"),
    [("forget RUN u3", "letterrec forget"), ("fit --nope", "letterrec fit"), ("fitt", "letterrec")],
)
def test_what_cannot_be_parsed_names_the_help_of_its_command(
    line: str, help_of: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*line.split()) == 2
    said = capsys.readouterr().err
    assert said.endswith(f"Given: {line}. Try: {help_of} --help\n")
    assert said.count("\n") == 1


def test_items_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("add-items", tmp_path, tmp_path / "nothere.csv") == 2
    assert "nothere.csv does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_settings_are_finite(value: str) -> None:
    with pytest.raises(SettingsError, match=r"training\.learning_rate"):
        letterrec.load_settings(None, [f"training.learning_rate={value}"])


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("training=3", "setting 'training' = 3: expected a section, not a value: give"),
        ("tokenizer=3", "setting 'tokenizer' = 3: expected a section"),
        ("data.columns.foo=x", "setting 'data.columns.foo' does not exist; expected one of 'user'"),
        ("data.columns.user=3", "setting 'data.columns.user' = 3: expected text"),
        ("tokenizer.name=foo", "setting 'tokenizer.name' = 'foo': expected one of 'letter', 'rqk"),
        ("training.epochs=2.5", "setting 'training.epochs' = 2.5: expected a whole number"),
        ("training.epochs=0", "expected a number greater than or equal to 1"),
        ("transitions.enabled=7", "expected true or false"),
        ("data.order=foo", "expected 'time' or 'rows'"),
        ("nope.x=1", "setting 'nope' does not exist; sections: seed, data"),
        ("training.x=1", r"'training\.x' does not exist; settings of that section: epochs"),
    ],
)
def test_settings_are_refused_in_plain_words(override: str, answer: str) -> None:
    with pytest.raises(SettingsError, match=answer):
        letterrec.load_settings(None, [override])


def test_a_choice_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("reproduce", "table9", "x", "--out", "y") == 2
    assert "Invalid value for 'TABLE|FIGURE': 'table9' is not one of" in capsys.readouterr().err


def test_the_columns_of_tables_under_unknown_names_are_listed(tmp_path: Path) -> None:
    (tmp_path / "games.csv").write_text("BGGId,Name\n7,Chess\n")
    (tmp_path / "ratings_of_users.csv").write_text("BGGId,Rating,Username\n7,2,a\n")
    with pytest.raises(DataError) as caught:
        letterrec.read(tmp_path)
    for part in (
        "games.csv has the columns BGGId, Name; ",
        "ratings_of_users.csv has the columns BGGId, Rating, Username; ",
        "--columns user=...,item=...,timestamp=...",
    ):
        assert part in str(caught.value)
    columns = {"user": "Username", "item": "BGGId"}
    dataset = letterrec.read(tmp_path, columns=columns, order="rows", k_core=0)
    assert dataset.titles == ("Chess",)
