"""Settings: recipes, overrides, and what is said of wrong ones."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from letterrec.config import Settings, describe_recipes, load_settings, parse_settings, recipes
from letterrec.errors import SettingsError


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_loads_and_says_what_it_is(name: str) -> None:
    assert isinstance(load_settings(name), Settings)
    assert len(describe_recipes()[name]) > 20


def test_settings_survive_toml() -> None:
    settings = load_settings(None, ["training.epochs=7", "recommender.name=tiger"])
    assert parse_settings(tomllib.loads(settings.to_toml())) == settings


def test_a_recommender_brings_its_recipe() -> None:
    assert load_settings(None, ["recommender.name=tiger"]) == load_settings("tiger")
    assert load_settings() == load_settings("rqt")


def test_a_file_is_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("seed = 4\n[tokenizer]\nalpha = 0.5\n")
    settings = load_settings(file, ["tokenizer.alpha=0.25"])
    assert settings.seed == 4
    assert settings.tokenizer.name == "letter"
    assert settings.tokenizer.alpha == 0.25


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochz=1", "settings of that section: epochs"),
        ("nowhere.x=1", "'nowhere' does not exist"),
        ("tokenizer.alpha=-1", "greater than or equal to 0"),
        ("tokenizer.name=vq", "tokenizer"),
        ("data.max_history=no", "data.max_history"),
        ("seed", "section.key=value"),
    ],
)
def test_wrong_overrides_are_explained(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings(None, [override])
    assert "\n" not in str(caught.value)


def test_a_broken_file_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text("seed = = 4")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings(file)
