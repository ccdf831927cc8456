"""The commands around a run in service, as they are typed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from letterrec.cli import app as cli

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a command: exit code, what it prints, what it complains of."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["letterrec", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_items_are_added_and_recommended(typed: Typed, own_run: Path, tmp_path: Path) -> None:
    table = tmp_path / "new.csv"
    table.write_text("item,title,brand\nn1,red lipstick no. 61,brand 1\nn2,chess set no. 77,\n")
    code, out, _ = typed("add-items", own_run, table, "--json")
    assert code == 0
    added = json.loads(out)
    assert list(added["items"]) == ["n1", "n2"]
    assert added["items"]["n1"].startswith("<a_")
    code, out, _ = typed("recommend", own_run, "--history", "i05,n1", "-k", 60, "--json")
    assert code == 0
    assert "n2" in [item["item"] for item in json.loads(out)["items"]]
    code, _, err = typed("add-items", own_run, table)
    assert code == 2
    assert "item 'n1' is already in the catalogue" in err
    table.write_text("item,title\nn1,red lipstick no. 62\nn3,chess set no. 78\n")
    code, out, _ = typed("add-items", own_run, table, "--update", "--json")
    assert code == 0
    assert json.loads(out)["items"]["n1"] == added["items"]["n1"]
    code, out, _ = typed("recommend", own_run, "--history", "i05", "-k", 60, "--json")
    titles = {item["item"]: item["title"] for item in json.loads(out)["items"]}
    assert (titles["n1"], titles["n3"]) == ("red lipstick no. 62", "chess set no. 78")


def test_items_are_blocked_deleted_and_restored(typed: Typed, own_run: Path) -> None:
    code, out, _ = typed("edit-items", own_run, "--block", "i01,i02", "--delete", "i03")
    assert code == 0
    assert "57 active, 2 blocked, 1 deleted" in out
    code, out, _ = typed("edit-items", own_run, "--restore", "i02,i03")
    assert "59 active, 1 blocked, 0 deleted" in out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["edit-items"], "give --block, --delete or --restore"),
        (["edit-items", "--block", "i01", "--delete", "i01"], "comes twice"),
        (["edit-items", "--block", "nope"], "item 'nope' is not in the catalogue"),
        (["recommend", "--all-users"], "--all-users and --out FILE.parquet go together"),
        (["recommend", "--user", "u1", "--all-users"], "give one of --user ID"),
        (["evaluate", "--cold"], "hold some out with"),
        (["add-items", "missing.csv"], "missing.csv"),
        (["add-items", "items.txt"], "items.txt does not exist; expected a table of items"),
    ],
)
def test_mistakes_get_one_line(
    typed: Typed, own_run: Path, words: list[str], complaint: str
) -> None:
    code, _, err = typed(words[0], own_run, *words[1:])
    assert code == 2
    assert complaint in err
    assert len(err.strip().splitlines()) == 1


def test_all_users_and_the_report_go_to_files(typed: Typed, shop_run: Path, tmp_path: Path) -> None:
    recs, report = tmp_path / "recs.parquet", tmp_path / "report.html"
    code, out, _ = typed("recommend", shop_run, "--all-users", "--out", recs, "-k", 3)
    assert code == 0
    assert "recommendations of 150 users" in out
    assert pl.read_parquet(recs).height == 450
    code, out, _ = typed("report", shop_run, "--out", report)
    assert code == 0
    assert report.read_text("utf-8").startswith("<!doctype html>")
