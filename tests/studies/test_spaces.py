"""Spaces: how they are written, what a grid makes of them, and that every recommender has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from letterrec.baselines import BASELINES
from letterrec.config.loading import load_settings
from letterrec.errors import SettingsError
from letterrec.recommenders import RECOMMENDERS
from letterrec.studies.default_spaces import SPACES, default_space, paper_space
from letterrec.studies.spaces import Choice, Range, check_space, domain_of, space_of

BASE = load_settings()


def test_a_file_and_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_text(
        "[training]\nlearning_rate = { low = 1e-3, high = 1e-2, log = true }\n"
        "[recommender]\ndim = [64, 128]\n[tokenizer]\nhidden = [[64], [512, 256]]\n"
    )
    space = space_of(["recommender.dim=32", "recommender.layers=1..3"], file, BASE)
    assert space == {
        "training.learning_rate": Range(1e-3, 1e-2, log=True),
        "recommender.dim": Choice((32,)),
        "tokenizer.hidden": Choice(("[64]", "[512, 256]")),
        "recommender.layers": Range(1, 3, whole=True),
    }
    check_space(space, None, [], BASE)
    described = {key: domain.described() for key, domain in space.items()}
    assert {key: domain_of(key, value, BASE) for key, value in described.items()} == space


@pytest.mark.parametrize(
    ("text", "message"), [("[a]\nb = 3", "a list of values"), ("[", "TOML"), (None, "read")]
)
def test_wrong_files_are_explained(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "space.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        space_of([], file, BASE)


def test_whole_numbers_are_those_of_the_setting() -> None:
    space = space_of(["recommender.dropout=0..1", "recommender.layers=2..8:3"], None, BASE)
    assert space["recommender.dropout"].values() == (0.0, 0.5, 1.0)
    assert space["recommender.layers"].values() == (2, 5, 8)
    assert space_of(["recommender.dropout=0..0.5:0.2"], None, BASE)[
        "recommender.dropout"
    ].values() == (0.0, 0.2, 0.4)


def test_values_may_fit_beside_others_alone() -> None:
    space = space_of(["tokenizer.dim=16,32", "collaborative.dim=16,32"], None, BASE)
    check_space(space, None, [], BASE)
    with pytest.raises(SettingsError, match=r"collaborative\.dim"):
        check_space(space_of(["tokenizer.dim=16,32"], None, BASE), None, [], BASE)


@pytest.mark.parametrize("name", [*RECOMMENDERS, *BASELINES])
def test_every_recommender_has_a_space(name: str) -> None:
    base = load_settings(name)
    space = default_space(base)
    check_space(space, name, [], base)
    assert bool(space) == (name != "popularity")
    assert any(key.startswith("transitions") for key in space) == (name == "rqt")
    assert set(SPACES) == {*RECOMMENDERS, *BASELINES}


def test_the_papers_ranges() -> None:
    tokenizer = {f"tokenizer.{key}" for key in ("levels", "codes", "alpha", "beta", "clusters")}
    space = paper_space(BASE)
    assert set(space) == {*tokenizer, "recommender.temperature"}
    check_space(space, None, [], BASE)
    assert sum(len(domain.values()) for domain in space.values()) > 15  # tried one at a time
    assert set(paper_space(load_settings("rqkmeans"))) == {
        "tokenizer.levels",
        "tokenizer.codes",
        "recommender.temperature",
    }
