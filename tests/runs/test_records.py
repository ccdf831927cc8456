"""The types of ``metrics.json`` and the checks at reading say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from letterrec.errors import RunError
from letterrec.evaluation.results import Evaluation, SplitMetrics
from letterrec.files import write_json
from letterrec.runs import records
from letterrec.runs.origin import new_about


@pytest.mark.parametrize(
    ("checked", "typed"),
    [
        (records.Metrics, Evaluation),
        (records.Split, SplitMetrics),
    ],
)
def test_what_is_checked_is_in_the_type(checked: type[records.Record], typed: type) -> None:
    assert set(checked.model_fields) <= set(typed.__annotations__)


def test_what_the_type_of_a_file_has_is_checked() -> None:
    assert set(Evaluation.__annotations__) <= set(records.Metrics.model_fields)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ({"seconds": "1"}, "stages.read.seconds"),
        ({"finished": "now"}, "stages.read.seconds"),
        ({"seconds": 1, "side_fingerprints": {"texts": 3}}, "stages.read.side_fingerprints.texts"),
    ],
)
def test_a_record_of_a_stage_is_checked(
    tmp_path: Path, damage: dict[str, object], told: str
) -> None:
    about = new_about("shop", 0)
    write_json(tmp_path / "run.json", {**about, "stages": {"read": damage}})
    with pytest.raises(RunError, match=f"damaged .{told}: "):
        records.read_about(tmp_path / "run.json")


def test_further_keys_are_left_alone(tmp_path: Path) -> None:
    stage = {"seconds": 1.5, "more": [1]}
    about = {**new_about("shop", 0), "stages": {"read": stage}, "further": None}
    write_json(tmp_path / "run.json", about)
    assert records.read_about(tmp_path / "run.json") == about
