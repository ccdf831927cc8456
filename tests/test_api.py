"""The public surface: what is promised is there, and nothing else is promised."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import letterrec
from conftest import SMALL, small_settings
from letterrec.errors import DataError, LetterRecError, RequestError, RunError, SettingsError


def test_all_is_pinned_and_importable() -> None:
    assert letterrec.__all__ == [
        "Dataset",
        "Engine",
        "LetterRecError",
        "Settings",
        "align",
        "compare",
        "estimate",
        "evaluate",
        "fit",
        "forget",
        "inspect",
        "load",
        "load_settings",
        "push",
        "read",
        "refit",
    ]
    for name in letterrec.__all__:
        assert getattr(letterrec, name) is not None


def loaded(code: str, modules: str) -> str:
    """Which of some modules a fresh process has imported after running some code."""
    code = f"import sys, letterrec; {code}; print({modules} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_is_quick() -> None:
    assert loaded("pass", "{'torch'}") == "set()"


def test_reading_data_loads_no_torch(tmp_path: Path) -> None:
    log = tmp_path / "interactions.csv"
    log.write_text("user,item,timestamp\nu,a,1\nu,b,2\nu,c,3\nv,a,1\nv,b,2\nv,c,3\n")
    code = f"letterrec.read({str(tmp_path)!r}, k_core=0)"
    assert loaded(code, "{'torch', 'scipy'}") == "set()"


def test_looking_at_a_run_loads_nothing_that_trains_or_serves(shop_run: Path) -> None:
    run = str(shop_run)
    rooms = "{'torch', 'letterrec.recommenders', 'letterrec.pipeline', 'letterrec.serving'}"
    assert loaded(f"letterrec.inspect({run!r})", rooms) == "set()"
    assert loaded(f"letterrec.compare({run!r}, {run!r})", rooms) == "set()"
    code = f"from letterrec.cli.reviewing import inspect; inspect({run!r}, True)"
    assert loaded(code, rooms).endswith("\nset()")


def test_dir_lists_the_public_names() -> None:
    assert set(letterrec.__all__) <= set(dir(letterrec))


SOURCE = "SHOP"  # stands for the shop's folder
WRONG: list[tuple[dict[str, Any], type[LetterRecError], str]] = [
    ({"source": pl.DataFrame({"user": ["a"], "item": ["b"]})}, DataError, "timestamp"),
    ({"source": pl.Series(["a"])}, DataError, "source is a polars.Series"),
    ({"source": None}, DataError, "source is None; expected the path"),
    ({"source": {"user": [1]}}, DataError, "source 'user' of a dict is a list"),
    ({"source": ""}, DataError, "source is ''"),
    ({"source": ["a"]}, DataError, "a does not exist"),
    ({"out": None}, RunError, "out = None"),
    ({"out": ""}, RunError, "out = ''"),
    ({"out": 5}, RunError, "out = 5"),
    ({"settings": 5}, SettingsError, "settings = 5: expected a dict"),
    ({"settings": "nope"}, SettingsError, "shipped recipes: "),
    ({"settings": ["training.epochs=5"]}, SettingsError, "expected a dict"),
    ({"settings": {"training": {"epoch": 5}}}, SettingsError, "'training.epoch' does not exist"),
    ({"settings": {"training.epochs": "soon"}}, SettingsError, "training.epochs"),
    ({"settings": {5: 5}}, SettingsError, "setting 5"),
    ({"settings": "tiger", "recipe": "rqt"}, SettingsError, "give one of them"),
    ({"recipe": 5}, SettingsError, "recipe = 5"),
]


@pytest.mark.parametrize(("given", "kind", "answer"), WRONG, ids=[str(w[0])[:40] for w in WRONG])
def test_what_fit_cannot_take_is_told_in_one_line(
    given: dict[str, Any], kind: type[LetterRecError], answer: str, shop: Path, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=answer) as caught:
        letterrec.fit(**({"source": shop, "out": tmp_path / "run"} | given))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_what_the_others_cannot_take_is_told_in_one_line(shop_run: Path) -> None:
    for call in (letterrec.load, letterrec.evaluate, letterrec.inspect):
        for wrong in (None, 5, ""):
            with pytest.raises(RunError, match="expected the path of a run's folder"):
                call(wrong)  # type: ignore[arg-type]
    for beam in (0, -1, True, 2.5):
        with pytest.raises(RequestError, match=f"beam = {beam}: expected a whole number"):
            letterrec.evaluate(shop_run, beam=beam)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="read already"):
        letterrec.read(letterrec.load(shop_run).dataset)  # type: ignore[arg-type]


def test_settings_are_taken_as_a_dict_or_as_the_command_line_writes_them() -> None:
    wanted = letterrec.load_settings("tiger", ["training.epochs=5", "data.k_core=0"])
    nested = {"training": {"epochs": 5}, "data": {"k_core": 0}}
    dotted = {"training.epochs": 5, "data.k_core": 0}
    assert letterrec.load_settings("tiger", nested) == wanted
    assert letterrec.load_settings("tiger", dotted) == wanted


def test_everything_has_a_short_repr(shop: Path, shop_run: Path) -> None:
    dataset, engine = letterrec.read(shop), letterrec.load(shop_run)
    assert repr(dataset).startswith(f"Dataset({dataset.name!r}: 150 users, 60 items, 1,")
    assert repr(letterrec.Settings()) == "Settings()"
    assert repr(letterrec.load_settings(None, ["training.epochs=5"])) == (
        "Settings(training.epochs=5)"
    )
    for thing in (dataset, engine, engine.settings, letterrec.load_settings("paper-letter-lcrec")):
        assert len(repr(thing)) < 400
        assert "\n" not in repr(thing)


@pytest.mark.slow
def test_a_dataset_a_dict_and_a_run_are_taken(shop: Path, tmp_path: Path) -> None:
    dataset = letterrec.read(shop)
    settings = dict(part.split("=") for part in SMALL)
    changed = {k: float(v) if "e-" in v or "." in v else int(v) for k, v in settings.items()}
    run = letterrec.fit(dataset, tmp_path / "run", changed | {"training.epochs": 1})
    assert run.settings == small_settings("training.epochs=1")
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["source"] == repr(dataset)
    assert len(repr(run)) < 200
    assert letterrec.load(run).recommend([["i01"]], k=3)
    with pytest.raises(SettingsError, match="give k_core to"):
        letterrec.fit(dataset, tmp_path / "other", {"data.k_core": 3})
