"""Several sources on the command line, with a baseline that needs no training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import letterrec
from command import letterrec as command
from domains import ITEMS, USERS, write_domains

POPULAR = ("--recipe", "popularity")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_domains(tmp_path_factory.mktemp("domains"))


@pytest.fixture(scope="module")
def run(sources: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sources, with users of their own."""
    folder = tmp_path_factory.mktemp("runs") / "apart"
    assert command("fit", *sources, "--out", folder, *POPULAR) == 0
    return folder


def test_a_fit_of_two_sources(run: Path) -> None:
    about = json.loads((run / "run.json").read_text())
    assert about["stages"]["read"]["name"] == "books + games"
    assert about["stages"]["read"]["users"] == 2 * USERS
    assert about["source"].startswith("books=")
    metrics = json.loads((run / "metrics.json").read_text())
    assert {n: d["users"] for n, d in metrics["test"]["domains"].items()} == {
        "books": USERS,
        "games": USERS,
    }


def test_users_are_apart(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ("recommend", run, "--domain", "games", "-k", "30", "--json")
    assert command(*line, "--user", "games/u3") == 0
    found = json.loads(capsys.readouterr().out)
    assert all(item.startswith("games/") for item in found["history"])
    items = {entry["item"] for entry in found["items"]}
    assert items == {f"games/{i}" for i in range(ITEMS)} - set(found["history"])
    assert command(*line, "--user", "u3") == 2
    said = capsys.readouterr().err
    assert "user 'u3' is not one user: there are 'books/u3' and 'games/u3'" in said
    assert command(*line, "--user", "u999") == 2
    assert "user 'u999' is not among" in capsys.readouterr().err


def test_an_id_of_one_source_alone_is_understood(sources: list[Path], tmp_path: Path) -> None:
    log = (sources[1] / "interactions.csv").read_text().replace("\nu", "\nplayer")
    (tmp_path / "games").mkdir()
    (tmp_path / "games" / "interactions.csv").write_text(log)
    given = {"books": sources[0], "games": tmp_path / "games"}
    run = letterrec.fit(given, tmp_path / "run", recipe="popularity", progress=False)
    engine = letterrec.load(run)
    assert engine.history_of("player7") == engine.history_of("games/player7")
    assert engine.history_of("u7")[0].startswith("books/")


def test_each_domain_and_all_of_them(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", run, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["domains"]["books"]["users"] == USERS
    assert command("evaluate", run, "--domain", "books", "--json") == 0
    alone = json.loads(capsys.readouterr().out)
    assert (alone["users"], alone["domain"]) == (USERS, "books")
    assert alone["metrics"]["recall@10"] >= found["domains"]["books"]["metrics"]["recall@10"]


def test_sources_of_one_name(
    sources: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = ("fit", sources[0], sources[0], "--out", tmp_path / "run")
    assert command(*twice) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "two sources are called 'books'; give each a name of its own" in said
    assert not (tmp_path / "run").exists()
    named = ("fit", sources[0], f"Other={sources[0]}", "--out", tmp_path / "run", *POPULAR)
    assert command(*named) == 0
    assert set(letterrec.load(tmp_path / "run").catalogue.domain_names) == {"books", "Other"}


def test_a_newer_log_of_every_domain(
    run: Path, sources: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ("--data", sources[0], "--data", f"games={sources[1]}")
    assert command("refit", run, *both, "--out", tmp_path / "again") == 0
    assert letterrec.load(tmp_path / "again").catalogue.domain_names == ("books", "games")
    one = ("--data", sources[0], "--out", tmp_path / "one")
    assert command("refit", run, *one) == 0  # one alone is a domain as well
    assert letterrec.load(tmp_path / "one").catalogue.item_ids[0].startswith("books/")
    capsys.readouterr()
