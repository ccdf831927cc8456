"""Final training: what was held out is learned, what was chosen stays, nothing is measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import letterrec
from command import letterrec as command
from conftest import write_shop
from letterrec.data import Histories
from letterrec.errors import RequestError, RunError
from letterrec.linear.transition_fitting import adopt_strengths, learn_transitions
from letterrec.runs.layout import Layout
from letterrec.runs.run import Run

N_ITEMS, N_USERS = 16, 60
LAST = [str(N_ITEMS), str(N_ITEMS + 1)]  # what everybody bought last, and nobody before
QUICK = {
    "identifiers.source": "given",
    "recommender.dim": 32,
    "recommender.layers": 1,
    "training.epochs": 3,
    "training.batch_size": 32,
    "training.learning_rate": 5e-3,
    "evaluation.beam": 18,
    "transitions.enabled": False,
}


def write_fashion(folder: Path) -> Path:
    """Rings of items in LETTER's layout, after which everyone's last two purchases are the same."""
    folder.mkdir()
    sequences = {
        str(user): [(user + step) % N_ITEMS for step in range(6)] + [int(i) for i in LAST]
        for user in range(N_USERS)
    }
    codes = {str(i): [f"<a_{i % 5}>", f"<b_{i // 5}>"] for i in range(N_ITEMS + 2)}
    (folder / "F.inter.json").write_text(json.dumps(sequences))
    (folder / "F.index.json").write_text(json.dumps(codes))
    return folder


def place_of(run: Run | Path, history: list[str], item: str) -> int:
    """The place of an item among those recommended, from 0."""
    (answer,) = letterrec.load(run).recommend([history], k=12, exclude_seen=False)
    ranked = [i for i, _ in answer]
    return ranked.index(item) if item in ranked else 12


@pytest.mark.parametrize("recipe", ["slist", pytest.param(None, marks=pytest.mark.slow)])
def test_what_was_held_out_is_known_in_service(
    recipe: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_fashion(tmp_path / "F")
    settings = QUICK if recipe is None else {"data.max_history": 20}
    run = letterrec.fit(data, tmp_path / "run", settings, recipe=recipe, progress=False)
    before = {p.name: p.stat().st_mtime_ns for p in run.folder.iterdir()}
    assert command("refit", run.folder) == 0
    refitted = Run.open(tmp_path / "run-refit")
    assert f"{N_USERS * 8} interactions" in capsys.readouterr().out
    assert place_of(run, ["3", "4", LAST[0]], LAST[1]) > 2
    assert place_of(refitted, ["3", "4", LAST[0]], LAST[1]) == 0
    assert refitted.dataset().popularity[-2:].tolist() == [N_USERS, N_USERS]
    assert {p.name: p.stat().st_mtime_ns for p in run.folder.iterdir()} == before
    assert "evaluation" not in refitted.about["stages"]
    for words in (["evaluate"], ["evaluate", "--split", "valid"], ["report"]):
        assert command(words[0], refitted.folder, *words[1:]) == 2
        (line,) = capsys.readouterr().err.splitlines()[-1:]
        assert "refitted on all interactions" in line
        assert f"letterrec evaluate {run.folder}" in line
    again = letterrec.refit(refitted, progress=False)  # of one that was refitted already
    assert again.about["refitted"]["run"] == str(refitted.folder)


def test_what_it_cannot_do_is_told_in_one_line(tmp_path: Path) -> None:
    data = write_fashion(tmp_path / "F")
    run = letterrec.fit(data, tmp_path / "run", {}, recipe="popularity", progress=False)
    with pytest.raises(RunError, match="already holds a run"):
        letterrec.refit(run, run.folder, progress=False)
    with pytest.raises(RequestError, match="weights = 'old'"):
        letterrec.refit(run, weights="old", progress=False)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="epochs = 0"):
        letterrec.refit(run, epochs=0, progress=False)


def test_strengths_are_kept_and_what_they_weigh_is_new() -> None:
    strength = {"seen": 0.0, "like": 0.0, "decay": 0.85, "weight": 0.3}
    chosen = replace(learn_transitions(Histories.from_lists([[0, 1]] * 9), 3)[0], **strength)
    new = adopt_strengths(learn_transitions(Histories.from_lists([[0, 1, 2]] * 9), 3)[0], chosen)
    assert new.strength == chosen.strength == strength
    assert new.table[1, 2] > 0
    assert chosen.table[1, 2] == 0


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop with more customers, and a new item that follows the last one."""
    folder = write_shop(tmp_path_factory.mktemp("newer"), n_users=200, seed=1)
    with (folder / "items.csv").open("a") as file:
        file.write("i60,green tea no. 60,brand 4\n")
    with (folder / "interactions.csv").open("a") as file:
        for user in range(40):
            for day, item in enumerate(["i57", "i58", "i59", "i60", "i00"]):
                file.write(f"n{user},{item},{1_800_000_000 + 86_400 * day}\n")
    return folder


@pytest.mark.slow
def test_a_newer_log_is_learned_and_identifiers_stay(
    shop_run: Path, newer: Path, tmp_path: Path
) -> None:
    run = Run.open(shop_run)
    old = run.identifiers(run.dataset())
    new = letterrec.refit(run, tmp_path / "new", data=newer, epochs=2, progress=False)
    data = new.dataset()
    identifiers = new.identifiers(data)
    rows = run.dataset().item_rows
    for item, row in data.item_rows.items():
        if item in rows:
            assert identifiers.codes[row].tolist() == old.codes[rows[item]].tolist()
    assert len(np.unique(identifiers.codes, axis=0)) == data.n_items == 61
    assert new.about["refitted"] == {"run": str(shop_run), "epochs": 2, "weights": "run"}
    assert place_of(new, ["i57", "i58", "i59"], "i60") < 10
    third = letterrec.refit(new, tmp_path / "third", epochs=1, weights="run", progress=False)
    assert third.dataset().n_items == 61


@pytest.mark.slow
def test_edits_go_with_it(shop_run: Path, newer: Path, tmp_path: Path) -> None:
    from shutil import copytree

    folder = Path(copytree(shop_run, tmp_path / "run"))
    table = tmp_path / "added.csv"
    table.write_text("item,title\ni60,green tea no. 60\ni61,green tea no. 61\n")
    assert command("add-items", folder, table) == 0
    assert command("edit-items", folder, "--block", "i05") == 0
    given = letterrec.load(folder).identifiers.codes
    new = letterrec.refit(folder, tmp_path / "new", data=newer, epochs=1, progress=False)
    engine = letterrec.load(new)
    assert engine.catalogue.item_ids[-2:] == ("i60", "i61")
    assert engine.identifiers.codes[-2:].tolist() == given[-2:].tolist()
    assert engine.dataset.n_items == 61  # the first of them is in the log, the other still added
    assert engine.catalogue.count("blocked") == 1
    assert Layout(new.folder).catalogue.exists()
