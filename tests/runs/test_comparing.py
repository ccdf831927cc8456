"""Two runs side by side: a planted gain is seen, none is none, and other data are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import letterrec
from command import letterrec as command
from conftest import write_shop
from letterrec.errors import LetterRecError

pytestmark = pytest.mark.slow  # three baselines are fitted


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("compared")
    shop, other = write_shop(folder / "data"), write_shop(folder / "data-2", seed=1)
    time = {"data.split": "temporal"}
    for name, source, recipe, more in (
        ("popularity", shop, "popularity", {}),
        ("slist", shop, "slist", {"evaluation.cuts": [20]}),
        ("other", other, "popularity", {}),
        ("in-time", shop, "popularity", time),
        ("sampled", shop, "popularity", {"evaluation.test_users": 20}),
    ):
        letterrec.fit(source, folder / name, more, recipe=recipe, progress=False)
    return {p.name: p for p in folder.iterdir()}


def test_who_knows_what_follows_gains_much_and_surely(runs: dict[str, Path]) -> None:
    found = letterrec.compare(runs["popularity"], runs["slist"])
    metrics = {
        name: letterrec.evaluate(runs[name], progress=False) for name in ("popularity", "slist")
    }
    assert set(found["metrics"]) == {"recall@5", "recall@10", "ndcg@5", "ndcg@10"}
    assert found["users"] == metrics["slist"]["users"]
    for name, gain in found["metrics"].items():
        assert gain["first"] == pytest.approx(metrics["popularity"]["metrics"][name])
        assert gain["second"] == pytest.approx(metrics["slist"]["metrics"][name])
        assert gain["difference"] == pytest.approx(gain["second"] - gain["first"])
        assert 0.2 < gain["low"] <= gain["difference"] <= gain["high"]
        assert gain["p"] < 0.01
    back = letterrec.compare(runs["slist"], runs["popularity"], "valid")
    assert back["split"] == "valid"
    assert all(gain["high"] < 0 for gain in back["metrics"].values())


def test_a_run_gains_nothing_over_itself(runs: dict[str, Path]) -> None:
    found = letterrec.compare(runs["slist"], runs["slist"])
    assert "recall@20" in found["metrics"]
    assert all((g["low"], g["high"], g["p"]) == (0, 0, 1) for g in found["metrics"].values())


def test_by_the_command_line(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("compare", runs["popularity"], runs["slist"], "--json") == 0
    out, _ = capsys.readouterr()
    assert json.loads(out) == letterrec.compare(runs["popularity"], runs["slist"])
    assert command("compare", runs["popularity"], runs["slist"]) == 0
    assert "95 % interval" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("other", "other data or another split"),
        ("in-time", "split leave-one-out and temporal"),
        ("sampled", "other samples of users"),
        ("nowhere", "does not exist"),
    ],
)
def test_runs_that_cannot_be_compared(
    runs: dict[str, Path], second: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = runs["slist"].parent / second
    with pytest.raises(LetterRecError, match=words):
        letterrec.compare(runs["popularity"], path)
    assert command("compare", runs["popularity"], path) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_split_that_is_none(runs: dict[str, Path]) -> None:
    with pytest.raises(LetterRecError, match="split = 'train'"):
        letterrec.compare(runs["slist"], runs["slist"], "train")  # type: ignore[arg-type]
