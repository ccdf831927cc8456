"""The settings that users choose from name what the registries of the rooms above name."""

from __future__ import annotations

import pytest

from letterrec.baselines import BASELINES
from letterrec.config.loading import load_settings
from letterrec.errors import SettingsError
from letterrec.recommenders import RECOMMENDERS
from letterrec.tokenizers import TOKENIZERS


@pytest.mark.parametrize("name", [*RECOMMENDERS, *BASELINES])
def test_every_recommender_and_baseline_has_settings(name: str) -> None:
    assert load_settings(None, [f"recommender.name={name}"]).recommender.name == name


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_tokenizer_has_settings(name: str) -> None:
    assert load_settings(None, [f"tokenizer.name={name}"]).tokenizer.name == name


@pytest.mark.parametrize(
    ("section", "registries"),
    [("recommender", (RECOMMENDERS, BASELINES)), ("tokenizer", (TOKENIZERS,))],
)
def test_no_settings_name_what_is_not_there(
    section: str, registries: tuple[dict[str, type], ...]
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(None, [f"{section}.name=nothing"])
    told = str(refused.value)
    named = {name for registry in registries for name in registry}
    assert {name for name in named if f"'{name}'" in told or name in told} == named
