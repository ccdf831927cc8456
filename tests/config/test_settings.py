"""Settings: recipes, overrides, and what is said of wrong ones."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from letterrec.config.baselines import SasRecSettings
from letterrec.config.loading import (
    describe_recipes,
    load_settings,
    parse_kept_settings,
    parse_settings,
    recipes,
)
from letterrec.config.recommenders import RqtSettings
from letterrec.config.settings import Settings
from letterrec.errors import SettingsError
from letterrec.training.options import TrainingOptions


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_loads_and_says_what_it_is(name: str) -> None:
    assert isinstance(load_settings(name), Settings)
    assert len(describe_recipes()[name]) > 20


def test_settings_survive_toml() -> None:
    settings = load_settings(None, ["training.epochs=7", "recommender.name=tiger"])
    assert parse_settings(tomllib.loads(settings.to_toml())) == settings


def test_what_an_earlier_version_had_no_setting_for_stays_as_it_was() -> None:
    kept = tomllib.loads(load_settings().to_toml())
    for key in ("item_weight", "item_share"):
        del kept["recommender"][key]
    recommender = parse_kept_settings(kept).recommender
    assert isinstance(recommender, RqtSettings)
    assert (recommender.item_weight, recommender.item_share) == (0, 0)
    assert parse_settings(kept).recommender == RqtSettings()  # a recipe takes the defaults
    kept = tomllib.loads(load_settings("sasrec").to_toml())
    del kept["recommender"]["norm_first"]
    assert parse_kept_settings(kept).recommender == SasRecSettings(norm_first=True)
    tiger = tomllib.loads(load_settings("tiger").to_toml())
    assert parse_kept_settings(tiger) == load_settings("tiger")


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
        ("seed=1\nrecommender=2", r"'1\\nrecommender=2' cannot be a value"),
        ("training.epochs=" + "x" * 300, r"'x{116}\.\.\.: expected a whole number"),
        ("identifiers.sinkhorn_epsilon=0.1", "is retired: .* is exact now; leave it out"),
        ("transitions.steps=3", "is retired: .*transitions.window is their reach; leave it out"),
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


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested table as ``section.key`` -> value."""
    out: dict[str, Any] = {}
    for key, value in table.items():
        out |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out


KINDS = {
    "tokenizer": ("letter", "rqkmeans", "p5-semid", "p5-cid"),
    "recommender": ("rqt", "tiger", "lcrec"),
}


def chosen_kinds() -> list[tuple[str, ...]]:
    """Overrides that choose each kind of each section of several kinds once."""
    return [
        (),
        *((f"{section}.name={kind}",) for section, kinds in KINDS.items() for kind in kinds[1:]),
    ]


def other_value(key: str, annotation: Any, value: Any) -> Any:
    """A value that a setting can take and does not have."""
    options = [a for a in get_args(annotation) if a is not type(None)]
    if get_origin(annotation) is Literal:
        return next(option for option in options if option != value)
    if get_origin(annotation) is tuple and get_origin(options[0]) is Literal:
        return [next(option for option in get_args(options[0]) if option not in value)]
    kind = options[0] if options and get_origin(annotation) is not tuple else annotation
    if kind is bool:
        return not value
    if kind is int:
        return 2 * (value or 1)
    if kind is float:
        return value / 2 if value else 0.25
    if get_origin(annotation) is tuple:
        return ["one", "other"] if get_args(annotation)[0] is str else [64, 32]
    return "other"


def one_key_each(settings: BaseModel, prefix: str = "") -> list[tuple[str, Any]]:
    """Every setting with another value, as ``section.key``; names choose kinds and are left out."""
    found: list[tuple[str, Any]] = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            found += one_key_each(value, f"{prefix}{name}.")
        elif isinstance(value, dict):  # a table of names, such as data.columns
            of = get_args(field.annotation)[1]
            found.append((f"{prefix}{name}.user", 0.5 if of is float else "other"))
        elif name != "name" and prefix + name not in TAKEN:
            found.append((prefix + name, other_value(prefix + name, field.annotation, value)))
    return found


# what a single change cannot be, because another setting has to go with it
TAKEN = {
    *("tokenizer.dim", "collaborative.dim", "collaborative.ids", "collaborative.order"),
    *("content.ids", "content.order"),
    "recommender.grounding",
}


@pytest.mark.parametrize("recipe", [None, *recipes()])
@pytest.mark.parametrize("kinds", chosen_kinds(), ids=" ".join)
def test_an_override_changes_what_it_names_and_nothing_else(
    recipe: str | None, kinds: tuple[str, ...]
) -> None:
    before = load_settings(recipe, list(kinds))
    walked = one_key_each(before)
    assert len(walked) >= 40
    for key, value in walked:
        after = load_settings(recipe, [*kinds, f"{key}={json.dumps(value)}"])
        told = flat(after.model_dump(mode="json")), flat(before.model_dump(mode="json"))
        differing = {k for k in told[0] | told[1] if told[0].get(k) != told[1].get(k)}
        assert differing == {key}


def test_a_file_and_a_table_change_what_they_name_and_nothing_else(tmp_path: Path) -> None:
    default = load_settings()
    file = tmp_path / "mine.toml"
    for key, value in one_key_each(default):
        *sections, name = key.split(".")
        header = f"[{'.'.join(sections)}]\n" if sections else ""
        file.write_text(f"{header}{name} = {json.dumps(value)}\n")
        assert load_settings(file) == load_settings(None, [f"{key}={json.dumps(value)}"])
        nested: Any = {name: value}
        for section in reversed(sections):
            nested = {section: nested}
        assert parse_settings(nested) == load_settings(file)


def test_the_epochs_alone_leave_batch_size_and_rate() -> None:
    settings = load_settings(
        None, ["tokenizer.training.epochs=6", "collaborative.training.epochs=3"]
    )
    assert settings.tokenizer.name == "letter"
    assert settings.tokenizer.training.options()["batch_size"] == 1024
    assert settings.collaborative.training.learning_rate == 4e-3
    tiger = load_settings("tiger", ["training={epochs=3}"])
    assert (tiger.training.epochs, tiger.training.batch_size) == (3, 256)
    assert tiger.training.learning_rate == 1e-3


def test_another_kind_keeps_of_a_recipe_what_it_has_too() -> None:
    settings = load_settings("rqvae", ["tokenizer.name=rqkmeans"])
    assert settings.tokenizer == load_settings("rqkmeans").tokenizer
    settings = load_settings("paper-letter-tiger", ["recommender.name=rqt"])
    assert settings.recommender == load_settings(None, ["recommender.temperature=0.7"]).recommender
    with pytest.raises(SettingsError, match=r"'tokenizer\.alpha' does not exist; .*balanced$"):
        load_settings("rqvae", ["tokenizer.name=rqkmeans", "tokenizer.alpha=0.1"])


@pytest.mark.parametrize(
    "override",
    [
        "seed=" + "9" * 10_000,
        "seed=" + "[" * 5000 + "]" * 5000,
        "seed={" + "a." * 3000 + "b=1}",
        "tokenizer." + "a." * 3000 + "b=1",
        "tokenizer=5",
        "tokenizer.name=5",
    ],
)
def test_huge_and_deep_values_are_explained(override: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, [override])
    assert len(str(caught.value)) < 500
    file = tmp_path / "mine.toml"
    file.write_text(override)
    with pytest.raises(SettingsError):
        load_settings(file)


def test_unset_epochs_and_batches_go_by_the_size_of_the_data() -> None:
    training = load_settings(None).collaborative.training
    usual = TrainingOptions(**training.options())
    assert (usual.sized(20_000).epochs, usual.sized(20_000).batch_size) == (14, 256)
    large = usual.sized(10**6)
    assert (large.epochs, large.batch_size) == (4, 1024)
    given = load_settings(
        None, ["collaborative.training.epochs=14", "collaborative.training.batch_size=256"]
    ).collaborative.training
    told = TrainingOptions(**given.options())
    assert told.sized(10**6) == told


@pytest.mark.parametrize("n_items", [10, 100, 1000, 12_000, 10**6, 10**8])
def test_levels_and_codes_leave_room_for_the_items(n_items: int) -> None:
    for settings in ([], ["tokenizer.codes=16"], ["tokenizer.levels=2"]):
        tokenizer = load_settings(None, settings).tokenizer
        space = tokenizer.code_space(n_items)
        assert space is not None
        assert space.capacity >= 4 * n_items
    assert load_settings(None).tokenizer.code_space(12_000) == (4, 256)
    given = load_settings(None, ["tokenizer.codes=8", "tokenizer.levels=3"]).tokenizer
    assert given.code_space(n_items) == (3, 8)
