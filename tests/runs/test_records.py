"""The types of a run's JSON files and the checks at reading say the same."""

from __future__ import annotations

import pytest

from letterrec.evaluation.results import Evaluation, SplitMetrics
from letterrec.identifiers.diagnostics import CollisionRate, Diagnosis, LevelUse
from letterrec.runs import records


@pytest.mark.parametrize(
    ("checked", "typed"),
    [
        (records.About, records.RunRecord),
        (records.Stage, records.StageRecord),
        (records.Metrics, Evaluation),
        (records.Split, SplitMetrics),
        (records.Diagnostics, Diagnosis),
        (records.Level, LevelUse),
        (records.CollisionRate, CollisionRate),
    ],
)
def test_what_is_checked_is_in_the_type(checked: type[records.Record], typed: type) -> None:
    assert set(checked.model_fields) <= set(typed.__annotations__)


@pytest.mark.parametrize(
    ("checked", "typed"),
    [
        (records.About, records.RunRecord),
        (records.Metrics, Evaluation),
        (records.Diagnostics, Diagnosis),
    ],
)
def test_what_the_type_of_a_file_has_is_checked(checked: type[records.Record], typed: type) -> None:
    assert set(typed.__annotations__) <= set(checked.model_fields)
