"""The command line as users meet it: what it prints, its exit codes, its one-line errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer

import letterrec
from command import letterrec as run
from conftest import SMALL, write_shop
from letterrec.cli import app as cli

SETTINGS = [part for s in (*SMALL, "training.epochs=1") for part in ("--set", s)]


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit", "--help") == 0
    text = capsys.readouterr().out
    assert "SOURCE" in text
    assert "--resume" in text
    assert "--columns" in text
    assert "5-core" in text
    assert "data.k_core=0" in text
    assert "settings.toml" in text
    for name in ("MovieLens", "RetailRocket", "H&M", "Book-Crossing", "MIND"):
        assert name in text


@pytest.mark.slow
def test_a_path_is_a_path_and_columns_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    log = write_shop(tmp_path / "exp[1]") / "interactions.csv"
    log.write_text(log.read_text().replace("user,item,timestamp", "who,what,when"))
    write_shop(tmp_path / "exp1", n_users=3)
    told = ["--columns", "user=who,item=what", "--columns", "timestamp=when"]
    assert run("fit", "exp[1]", "--out", "run[1]", *told, *SETTINGS) == 0
    assert "150 users" in capsys.readouterr().err
    assert 'user = "who"' in (tmp_path / "run[1]" / "settings.toml").read_text()
    assert run("fit", "exp[1]", "--out", "run[1]", "--resume", *SETTINGS) == 2
    assert "data.columns" in capsys.readouterr().err
    assert run("fit", "exp[1]", "--out", "run[1]", "--resume", *told, *SETTINGS) == 0
    assert run("recommend", "run[1]", "--user", "u3", "-k", "4", "--json") == 0
    assert run("inspect", "run[1]") == 0
    assert run("recommend", "run[1]", "--all-users", "--out", "recs[1].parquet", "-k", "3") == 0
    assert pl.read_parquet(tmp_path / "recs[1].parquet", glob=False)["user"].n_unique() == 150


COMMANDS = sorted(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=str)
def test_help_shows_flags_without_a_type_and_explains_every_option(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(*command, "--help") == 0
    text = capsys.readouterr().out
    assert "<bool>" not in text
    group: Any = typer.main.get_command(cli.app)
    for parameter in (group.commands[command[0]] if command else group).params:
        assert parameter.help, parameter.name


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"letterrec {letterrec.__version__}\n"


def test_the_package_can_be_run_as_a_module() -> None:
    command = [sys.executable, "-m", "letterrec", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"letterrec {letterrec.__version__}\n"


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_what_needs_no_network_waits_for_none(argument: str) -> None:
    code = (
        "import sys\nfrom letterrec.cli.app import main\n"
        f"sys.argv = ['letterrec', '{argument}']\n"
        "try:\n    main()\nfinally:\n"
        "    print({'torch', 'polars', 'pydantic', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_an_item_whose_id_has_a_comma(
    shop_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(shop_run, copy)
    new = tmp_path / "new.csv"
    new.write_text('item,title\n"Tyler, The Creator",Igor [the album]\n')
    assert run("add-items", copy, new) == 0
    assert "Igor [the album]" in capsys.readouterr().out
    wanted = ["Tyler, The Creator", "i01"]
    for arguments in (
        ["--item", f" {wanted[0]} ", "--item", wanted[1]],
        ["--history", '"Tyler, The Creator",i01'],
    ):
        assert run("recommend", copy, *arguments, "--json") == 0
        assert json.loads(capsys.readouterr().out)["history"] == wanted
    assert run("recommend", copy, "--item", "i01", "-k", "100", "--json") == 0
    shown = json.loads(capsys.readouterr().out)["items"]
    assert "Igor [the album]" in [item["title"] for item in shown]
    assert run("recommend", copy, "--item", "i01", "-k", "100") == 0
    assert "Igor [" in capsys.readouterr().out  # the rest may stand on the next line
    quoted = '"Tyler, The Creator"'
    assert run("edit-items", copy, "--block", f"{quoted},i03", "--block", "i04") == 0
    assert "58 active, 3 blocked, 0 deleted" in capsys.readouterr().out
    assert run("edit-items", copy, "--restore", "i03,i04", "--delete", quoted) == 0
    assert "60 active, 0 blocked, 1 deleted" in capsys.readouterr().out
    assert run("edit-items", copy, "--block", '"i03') == 2
    assert "quote an id that has a comma" in capsys.readouterr().err
    assert run("recommend", copy, "--item", "i01", "--history", "i02") == 2


def test_json_is_one_object_on_stdout(
    shop_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(shop_run, copy)
    new = tmp_path / "new.csv"
    new.write_text("item,title\nn1,Amélie 緑茶 [x]\n", "utf-8")
    for arguments in (
        ["add-items", copy, new],
        ["recommend", copy, "--item", "n1"],
        ["recommend", copy, "--all-users", "--out", tmp_path / "all.parquet"],
        ["evaluate", copy, "--split", "valid"],
        ["inspect", copy],
    ):
        assert run(*arguments, "--json") == 0
        assert isinstance(json.loads(capsys.readouterr().out), dict)
    assert run("recommend", copy, "--item", "i01", "-k", "100", "--json") == 0
    assert "Amélie 緑茶 [x]" in capsys.readouterr().out


def test_evaluate_prints_the_promised_json(
    shop_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", shop_run, "--split", "valid", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert {"split", "users", "beam", "metrics", "seconds", "users_per_second"} <= set(result)
    assert set(result["metrics"]) == {"recall@5", "recall@10", "ndcg@5", "ndcg@10"}
    assert result["split"] == "valid"
    assert result["users"] == 150
    assert run("evaluate", shop_run, "--exclude-seen") == 0
    assert "without seen items" in capsys.readouterr().out


def test_recommend_by_user_and_by_history(
    shop_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("recommend", shop_run, "--user", "u3", "-k", "4", "--json") == 0
    by_user = json.loads(capsys.readouterr().out)
    assert len(by_user["items"]) == 4
    assert not {line["item"] for line in by_user["items"]} & set(by_user["history"])
    history = ",".join(by_user["history"])
    assert run("recommend", shop_run, "--history", history, "-k", "4", "--json") == 0
    assert json.loads(capsys.readouterr().out)["items"] == by_user["items"]


def test_inspect_prints_the_promised_json(
    shop_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("inspect", shop_run, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["collision_rate"]["after"] == 0
    assert len(result["levels"]) == 4
    assert {"codes_used", "entropy", "largest_share"} <= set(result["levels"][0])
    assert 0 <= result["cf_overlap"] <= 1


def test_tables_for_people(shop_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", shop_run) == 0
    assert run("recommend", shop_run, "--user", "u3") == 0
    assert run("recipes") == 0
    text = capsys.readouterr().out
    assert "cf_overlap" in text
    assert "no." in text
    assert "tiger" in text


# What was typed -> part of the one line that answers it. SHOP and RUN stand for the real folders.
BAD = [
    (["fit", "nowhere", "--out", "OUT"], "nowhere does not exist"),
    (["fit", "SHOP", "--out", "OUT", "--recipe", "nope"], "shipped recipes: "),
    (["fit", "SHOP", "--out", "OUT", "--set", "training.epochs=soon"], "training.epochs"),
    (["fit", "SHOP", "--out", "OUT", "--set", "training.epochs=0"], "training.epochs"),
    (["fit", "SHOP", "--out", "OUT", "--set", "training.epoch=3"], "does not exist"),
    (["fit", "SHOP", "--out", "OUT", "--set", "nonsense"], "section.key=value"),
    (["fit", "SHOP", "--out", "OUT", "--set", "seed.x=1"], "seed"),
    (["fit", "SHOP", "--out", "OUT", "--set", "identifiers.source=given"], "index.json"),
    (["fit", "SHOP", "--out", "OUT", "--set", "tokenizer.levels=1", *SETTINGS], "code space"),
    (["fit", "SHOP", "--out", "OUT", "--set", "collaborative.source=given"], "collaborative"),
    (["fit", "SHOP", "--out", "OUT", "--set", "collaborative.source=no.npy"], "no.npy"),
    (["fit", "SHOP", "--out", "OUT", "--set", "content.encoder=no/such-model"], "no/such-model"),
    (["fit", "SHOP", "--out", "OUT", "--set", "recommender.name=gru4rec"], "rqt"),
    (["fit", "SHOP", "--out", "OUT", "--set", "recommender.heads=3"], "heads"),
    (["fit", "SHOP", "--out", "RUN"], "--resume"),
    (["fit", "SHOP", "--out", "RUN", "--resume", "--set", "seed=5"], "other settings"),
    (["fit", "SHOP", "--out", "SHOP"], "not empty"),
    (["fit", "SHOP"], "--out"),
    (["fit", "SHOP", "--out", "OUT", "--columns", "user"], "expected ROLE=COLUMN"),
    (["fit", "SHOP", "--out", "OUT", "--columns", "usr=x"], "data.columns.usr"),
    (["fit", "SHOP", "--out", "OUT", "--columns", "user=nobody"], "has no column 'nobody'"),
    (["fit", "SHOP", "--out", "OUT", "--set", "data.min_rating=3"], "has no column 'rating'"),
    (["fit", "SHOP", "--out", "OUT", "--set", "data.order=sideways"], "data.order"),
    (["fit", "SHOP", "--out", "RUN", "--resume", "--columns", "user=user"], "other settings"),
    (["evaluate", "nowhere"], "nowhere does not exist"),
    (["evaluate", "SHOP"], "holds no run"),
    (["evaluate", "RUN", "--split", "train"], "train"),
    (["evaluate", "RUN", "--beam", "0"], "beam"),
    (["recommend", "RUN"], "--user"),
    (["recommend", "RUN", "--user", "u1", "--history", "i01"], "--user"),
    (["recommend", "RUN", "--user", "nobody"], "'nobody'"),
    (["recommend", "RUN", "--history", "i98,i99"], "'i99'"),
    (["recommend", "RUN", "--history", ""], "--history '' has no item id"),
    (["recommend", "RUN", "--history", ","], "--history ',' has no item id"),
    (["recommend", "RUN", "--user", "u1", "-k", "0"], "-k"),
    (["recommend", "RUN", "--user", "u1", "-k", "many"], "many"),
    (["inspect", "nowhere"], "nowhere does not exist"),
    (["inspect", "DAMAGED"], "damaged"),
    (["evaluate", "UNFINISHED"], "unfinished"),
    (["frobnicate"], "frobnicate"),
]


@pytest.mark.parametrize(("arguments", "answer"), BAD, ids=[" ".join(a[:6]) for a, _ in BAD])
def test_bad_input_gets_one_line_and_exit_code_2(
    arguments: list[str],
    answer: str,
    shop: Path,
    shop_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "run.json").write_text("{")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(shop_run, unfinished)
    about = json.loads((unfinished / "run.json").read_text())
    del about["stages"]["recommender"]
    (unfinished / "run.json").write_text(json.dumps(about))
    places = {"SHOP": shop, "RUN": shop_run, "OUT": tmp_path / "out"}
    places |= {"DAMAGED": damaged, "UNFINISHED": unfinished}
    before = sorted(shop_run.rglob("*"))
    assert run(*(places.get(a, a) for a in arguments)) == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text
    errors = [line for line in text.splitlines() if line.startswith("letterrec: ")]
    assert len(errors) == 1, text
    assert text.endswith(errors[0] + "\n")
    assert answer in errors[0]
    assert sorted(shop_run.rglob("*")) == before
