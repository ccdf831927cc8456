"""The reference of settings: complete, true, and printed whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from command import letterrec
from letterrec import Settings, load_settings
from letterrec.config.reference import settings_markdown, settings_reference
from letterrec.errors import SettingsError

KINDS = [
    "recommender.name=tiger",
    "recommender.name=lcrec",
    *(f"tokenizer.name={name}" for name in ("rqkmeans", "p5-semid", "p5-cid")),
    *(f"recommender.name={name}" for name in ("mf", "lightgcn", "caser", "hgn", "bert4rec")),
    *(f"recommender.name={name}" for name in ("sasrec", "ease", "slist", "popularity")),
]


def flat(table: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Keys with dots -> values."""
    values: dict[str, Any] = {}
    for name, value in table.items():
        key = f"{path}{name}"
        values |= flat(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return values


def as_toml(value: Any) -> str:
    return "unset" if value is None else json.dumps(value)


def test_every_key_is_there_with_its_default() -> None:
    every = [s for part in settings_reference() for s in part.settings]
    listed = {(s.key, s.default) for s in every}
    for key, value in flat(Settings().model_dump()).items():
        assert (key, as_toml(value)) in listed
    assert len({s.key for s in every}) == len(
        set().union(*(flat(load_settings("rqt", [k]).model_dump()) for k in [*KINDS, "seed=0"]))
    )


@pytest.mark.parametrize("override", KINDS)
def test_every_kind_of_a_section_is_there(override: str) -> None:
    section = override.partition(".")[0]
    values = load_settings("rqt", [override]).model_dump()[section]
    listed = {(s.key, s.default) for part in settings_reference(section) for s in part.settings}
    for key, value in flat(values, f"{section}.").items():
        assert (key, as_toml(value)) in listed


def test_all_that_is_said_is_said() -> None:
    for section in settings_reference():
        assert section.about
        for setting in section.settings:
            assert setting.meaning, setting.key
            assert setting.type, setting.key


def test_what_is_allowed_is_read_off_the_field() -> None:
    def of(key: str) -> tuple[str, str, str]:
        ((section,),) = [settings_reference(key)]
        (setting,) = section.settings
        return setting.type, setting.default, setting.allowed

    assert of("training.warmup") == ("number", "0.05", "at least 0, at most 1")
    assert of("collaborative.dropout") == ("number", "0.2", "at least 0, below 1")
    assert of("data.k_core") == ("whole number", "unset", "at least 0")
    assert of("tokenizer.hidden") == ("list of whole numbers", "[512, 256, 128]", "")
    assert of("evaluation.criterion") == ("text", '"ndcg@10"', '"ndcg@10", "recall@10"')


def test_markdown_has_a_row_for_each() -> None:
    rows = [line for line in settings_markdown().splitlines() if line.startswith("| `")]
    every = [s.key for part in settings_reference() for s in part.settings]
    assert [row.split("`")[1] for row in rows] == every
    assert {row.replace("\\|", "").count("|") for row in rows} == {6}


def test_the_command_prints_a_section_with_whole_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert letterrec("settings", "recommender") == 0
    printed = capsys.readouterr().out
    for section in settings_reference("recommender"):
        for setting in section.settings:
            assert setting.key in printed
    assert "training.epochs" not in printed


def test_an_unknown_section_is_answered_with_those_that_exist() -> None:
    with pytest.raises(
        SettingsError, match=r"'trainin'; sections: seed, tracker, data, .*evaluation"
    ):
        settings_reference("trainin")
    assert letterrec("settings", "trainin") == 2
