"""The settings that users choose from name what the registries of the rooms above name."""

from __future__ import annotations

import inspect
from typing import get_args

import pytest
from pydantic import BaseModel

from letterrec.baselines import BASELINES
from letterrec.config.loading import load_settings
from letterrec.config.recommenders import RecommenderSettings
from letterrec.config.settings import is_baseline
from letterrec.config.tokenizers import TokenizerSettings
from letterrec.recommenders import RECOMMENDERS
from letterrec.tokenizers import TOKENIZERS


def sections(union: object) -> dict[str, type[BaseModel]]:
    found: tuple[type[BaseModel], ...] = get_args(get_args(union)[0])
    return {section.model_fields["name"].default: section for section in found}


def test_recommenders_and_baselines_are_those_that_have_settings() -> None:
    assert set(sections(RecommenderSettings)) == {*RECOMMENDERS, *BASELINES}


@pytest.mark.parametrize("name", [*RECOMMENDERS, *BASELINES])
def test_settings_say_whether_they_are_a_baselines(name: str) -> None:
    assert is_baseline(load_settings(name)) == (name in BASELINES)


@pytest.mark.parametrize("name", [*RECOMMENDERS, *BASELINES])
def test_every_setting_of_a_recommender_is_a_parameter_of_its_constructor(name: str) -> None:
    """`build` hands settings on by name, which no type checker sees."""
    model: type[object] = {**RECOMMENDERS, **BASELINES}[name]
    settings = set(sections(RecommenderSettings)[name].model_fields) - {"name"}
    assert settings | {"max_history"} <= set(inspect.signature(model).parameters)


def test_tokenizers_are_those_that_have_settings() -> None:
    assert set(sections(TokenizerSettings)) == set(TOKENIZERS)
