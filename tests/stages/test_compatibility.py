"""Data and settings that do not go together are refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from letterrec import api
from letterrec.config.loading import load_settings
from letterrec.data import read
from letterrec.errors import DataError, SettingsError
from letterrec.progress import shown
from letterrec.runs.run import Run
from letterrec.stages.compatibility import refuse_impossible

QUICK = {
    "data.k_core": 0,
    "training.epochs": 1,
    "collaborative.training.epochs": 1,
    "tokenizer.training.epochs": 2,
    "transitions.enabled": False,
}


def tables(folder: Path, sequences: list[str], titles: bool = True) -> Path:
    """A folder of tables; one sequence of one-letter item ids per user."""
    folder.mkdir()
    lines = [f"u{u},{i},{t}" for u, seq in enumerate(sequences) for t, i in enumerate(seq, start=1)]
    (folder / "interactions.csv").write_text("user,item,timestamp\n" + "\n".join(lines) + "\n")
    if titles:
        items = sorted(set("".join(sequences)))
        rows = "".join(f"{i},title of {i}\n" for i in items)
        (folder / "items.csv").write_text("item,title\n" + rows)
    return folder


@pytest.mark.parametrize(
    ("sequences", "changed", "answer"),
    [
        (["xxxxx", "xxxxxx"], {}, "has 1 item; a recommender needs at least 2"),
        (["xxxxx", "xxxxxx"], {"identifiers.source": "titles"}, "has 1 item"),
        (["xyx", "x", "y"], {}, "no user has two training interactions"),
        (["xyx", "x", "y"], {"identifiers.source": "titles"}, "no user has two training"),
        (["xyzx", "xyz"], {"data.cold_share": 0.5}, "has 1 item"),
    ],
)
def test_too_little_is_refused_before_training(
    tmp_path: Path, sequences: list[str], changed: dict[str, object], answer: str
) -> None:
    source = tables(tmp_path / "data", sequences)
    with pytest.raises(DataError, match=answer):
        api.fit(source, tmp_path / "run", load_settings(None, QUICK | changed))
    assert not Run.open(tmp_path / "run").has_work


@pytest.mark.parametrize("section", ["wishes", "preference"])
def test_a_baseline_is_taught_nothing_behind_its_training(tmp_path: Path, section: str) -> None:
    source = tables(tmp_path / "data", ["xyxyx", "yxyx", "xyxy"])
    settings = load_settings("popularity", QUICK | {f"{section}.enabled": True})
    with pytest.raises(SettingsError, match=f"{section}.enabled: the baseline 'popularity'"):
        api.fit(source, tmp_path / "run", settings)


@pytest.mark.slow
@pytest.mark.parametrize("recommender", ["rqt", "tiger"])
def test_two_items_are_enough(tmp_path: Path, recommender: str) -> None:
    source = tables(tmp_path / "data", ["xyxyx", "yxyx", "xyxy"], titles=False)
    changed = {**QUICK, "recommender": {"name": recommender}, "transitions.enabled": True}
    run = api.fit(source, tmp_path / "run", load_settings(None, changed))
    assert run.metrics()["test"]["users"] == 3


@pytest.mark.slow
def test_where_nothing_can_be_evaluated_no_figure_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from letterrec.progress import Terminal
    from letterrec.reports.text import print_metrics

    source = tables(tmp_path / "data", ["xy", "yz", "z", "zx"], titles=False)
    run = api.fit(source, tmp_path / "run", load_settings(None, QUICK))
    assert "nothing is evaluated" in capsys.readouterr().err
    print_metrics(Terminal(), run.metrics())
    text = capsys.readouterr().out
    assert "nothing is evaluated" in " ".join(text.split())
    assert "0.0000" not in text


def test_a_tight_code_space_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tables(tmp_path / "data", ["abcdefghijkl", "bcdefghijkla", "cdefghijklab"])
    dataset = read(source, k_core=0)
    for codes, is_tight in ((4, True), (16, False)):
        space = {"tokenizer.codes": codes, "tokenizer.levels": 2}
        with shown(True):
            refuse_impossible(load_settings(None, QUICK | space), dataset)
        assert ("code space of 16 identifiers" in capsys.readouterr().err) == is_tight
