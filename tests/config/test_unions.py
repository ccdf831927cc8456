"""The settings that users choose from name what the registries of the rooms above name."""

from __future__ import annotations

from typing import get_args

from pydantic import BaseModel

from letterrec.baselines import BASELINES
from letterrec.config.recommenders import RecommenderSettings
from letterrec.config.tokenizers import TokenizerSettings
from letterrec.recommenders import RECOMMENDERS
from letterrec.tokenizers import TOKENIZERS


def names(union: object) -> set[str]:
    sections: tuple[type[BaseModel], ...] = get_args(get_args(union)[0])
    return {section.model_fields["name"].default for section in sections}


def test_recommenders_and_baselines_are_those_that_have_settings() -> None:
    assert names(RecommenderSettings) == {*RECOMMENDERS, *BASELINES}


def test_tokenizers_are_those_that_have_settings() -> None:
    assert names(TokenizerSettings) == set(TOKENIZERS)
