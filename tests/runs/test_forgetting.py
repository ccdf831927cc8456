"""A forgotten user is in no file of the run, and the others are served as before."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import letterrec
from behaviours import write_shop as write_views_and_buys
from command import letterrec as command
from conftest import write_shop
from domains import write_domains
from letterrec.data.splits import SPLITS
from letterrec.errors import LetterRecError, NotFound, RequestError
from letterrec.runs.run import Run

pytestmark = pytest.mark.slow  # baselines are fitted


def fitted(folder: Path, recipe: str, **more: Any) -> Run:
    shop = write_shop(folder / "shop")
    return letterrec.fit(shop, folder / "run", more, recipe=recipe, progress=False)


def files_with(folder: Path, user: str) -> list[str]:
    """The files with a user's id: tables by their cells, others by their bytes."""
    found = []
    for path in folder.rglob("*.*"):
        if path.suffix == ".parquet":
            there = any(
                user in column.to_list()
                for column in pl.read_parquet(path).iter_columns()
                if column.dtype == pl.String
            )
        else:
            there = path.is_file() and user.encode() in path.read_bytes()
        found += [path.name] * there
    return found


@pytest.mark.parametrize("recipe", ["slist", "mf", "lightgcn"])
def test_he_leaves_the_files_and_the_others_stay(tmp_path: Path, recipe: str) -> None:
    epochs = {} if recipe == "slist" else {"training.epochs": 1, "recommender.known_users": True}
    run = fitted(tmp_path, recipe, **epochs)
    before = letterrec.load(run)
    user, other = "u77", "u78"
    history = before.history_of(other)
    expected = before.recommend([history], k=5)
    rows = {split: run.dataset().held_out(split).users for split in SPLITS}
    ranks = {split: run.ranks(split) for split in SPLITS}
    assert files_with(run.folder, "u77")
    assert command("forget", run.folder, "--user", user) == 0
    assert not files_with(run.folder, "u77")
    after = letterrec.load(run.folder)
    assert after.dataset.n_users == before.dataset.n_users - 1
    assert after.history_of(other) == history
    assert after.recommend([history], k=5) == expected
    with pytest.raises(LetterRecError, match="'u77' is not among the 149 users"):
        after.history_of(user)
    made = Run.open(run.folder)
    gone = before.dataset.user_rows[user]
    for split in SPLITS:
        assert np.array_equal(made.ranks(split), ranks[split][rows[split] != gone])
    measured = letterrec.evaluate(run.folder, progress=False)
    assert measured["users"] == len(made.ranks("test"))


def test_of_a_vector_for_each_user_the_others_keep_theirs(tmp_path: Path) -> None:
    run = fitted(tmp_path, "mf", **{"training.epochs": 1})
    row = run.dataset().user_rows["u77"]
    before = run.weights()["users.weight"]
    assert letterrec.forget(run, "u77").weights()["users.weight"].shape[0] == len(before) - 1
    after = Run.open(run.folder).weights()["users.weight"].numpy()
    assert np.array_equal(after, np.delete(before.numpy(), row, axis=0))


def test_split_by_time_and_cases_of_held_out_items(shop_run: Path, tmp_path: Path) -> None:
    run = fitted(tmp_path, "slist", **{"data.split": "temporal"})
    letterrec.forget(run, "u5")
    assert letterrec.evaluate(run.folder, progress=False)["users"] <= 149
    copy = Path(shutil.copytree(shop_run, tmp_path / "copy"))
    engine = letterrec.load(letterrec.forget(copy, "u5"))
    assert len(engine.recommend([["i01"]], k=3)[0]) == 3


def test_his_case_of_a_held_out_item_leaves_also_where_context_came_after_it(
    tmp_path: Path,
) -> None:
    shop = write_views_and_buys(tmp_path / "shop")
    log = letterrec.read(shop, k_core=0)
    held_out = {"data.targets": ["buy"], "data.cold_share": 0.2, "data.k_core": 0}
    run = letterrec.fit(shop, tmp_path / "run", held_out, recipe="popularity", progress=False)
    cold = run.cold()
    n_cases, is_buy = len(cold.histories), np.array(log.behaviours) == "buy"

    def ends_with_a_view_behind_a_cold_buy(user: int) -> bool:
        items = [log.item_ids[i] for i in log.interactions[user]]
        start, stop = log.interactions.offsets[user : user + 2]
        assert log.interactions.behaviours is not None
        buys = np.flatnonzero(is_buy[log.interactions.behaviours[start:stop]])
        if not len(buys) or items[-1] in cold.item_ids:
            return False
        return 1 < buys[-1] < len(items) - 1 and items[buys[-1]] in cold.item_ids

    users = [u for i, u in enumerate(log.user_ids) if ends_with_a_view_behind_a_cold_buy(i)]
    letterrec.forget(run.folder, users[0])
    assert len(Run.open(run.folder).cold().histories) == n_cases - 1


def test_who_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fitted(tmp_path, "popularity")
    assert command("forget", run.folder, "--user", "nobody") == 2
    assert "'nobody' is not among the 150 users" in capsys.readouterr().err


def test_of_several_users_all_are_forgotten_or_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fitted(tmp_path, "popularity")
    users = set(run.dataset().user_ids)
    several = ["--user", "u2", "--user", "u3"]
    assert command("forget", run.folder, *several, "--user", "nobody") == 2
    assert set(Run.open(run.folder).dataset().user_ids) == users
    with pytest.raises(NotFound, match="'nobody'"):
        letterrec.forget(run, ["u4", "nobody"])
    assert set(Run.open(run.folder).dataset().user_ids) == users
    capsys.readouterr()
    assert command("forget", run.folder, *several) == 0
    assert "forgotten users u2, u3; 148 users are left" in capsys.readouterr().out
    letterrec.forget(run, ("u5", "u7", "u5"))
    left = Run.open(run.folder).dataset()
    assert set(left.user_ids) == users - {"u2", "u3", "u5", "u7"}
    with pytest.raises(RequestError, match="has no other user than"):
        letterrec.forget(run, list(left.user_ids))


def test_ranks_of_a_sample_go_whole(tmp_path: Path) -> None:
    run = fitted(tmp_path, "popularity")
    run.save_ranks({str(split): run.ranks(split)[:20] for split in SPLITS}, run.dataset())
    letterrec.forget(run, "u2")
    assert not run.files.ranks.exists()
    assert "u2" not in Run.open(run.folder).dataset().user_ids


def test_a_user_of_one_domain_is_found_by_his_id_alone(tmp_path: Path) -> None:
    sources = write_domains(tmp_path)
    with (sources[1] / "interactions.csv").open("a") as log:
        log.writelines(f"solo,{item},{1_600_000_000 + item}\n" for item in range(6))
    run = letterrec.fit(sources, tmp_path / "run", recipe="slist", progress=False)
    with pytest.raises(NotFound, match="'books/u0' and 'games/u0'; name one of them"):
        letterrec.forget(run, "u0")
    with pytest.raises(NotFound, match="write domain and id, as in 'books/u0'"):
        letterrec.forget(run, "nobody")
    letterrec.forget(run, "solo")
    letterrec.forget(run, "games/u0")
    left = Run.open(run.folder).dataset().user_ids
    assert "games/solo" not in left
    assert "games/u0" not in left
    assert "books/u0" in left


def test_what_is_no_id_is_refused_in_a_line(tmp_path: Path) -> None:
    run = fitted(tmp_path, "slist")
    for value in (True, None, 1.5e300, {"u77"}, [["u77"]], []):
        with pytest.raises(RequestError, match=r"user: |no user is given"):
            letterrec.forget(run, value)
