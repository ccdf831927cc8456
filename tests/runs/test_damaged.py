"""A run folder in which something is broken is refused in one line, whatever it is."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tomli_w
import torch

from command import letterrec
from letterrec import api
from letterrec.errors import LetterRecError
from letterrec.files import read_json, write_json
from letterrec.files.tensors import read_tensors, write_tensors
from letterrec.runs.records import FORMAT
from letterrec.runs.run import Run
from letterrec.tokenizers import load_tokenizer

COMMANDS: dict[str, list[str]] = {
    "add-items": ["NEW"],
    "inspect": [],
    "evaluate": [],
    "recommend": ["--user", "u3", "--json"],
    "report": ["--out", "REPORT"],
}
READ_BY = {  # where only some commands read a file
    "metrics.json": ["report"],
    "diagnostics.json": ["inspect"],
    "tokenizer/tokenizer.json": ["add-items"],
}
HUGE = "9" * 10_000
DEEP = "[" * 100_000 + "]" * 100_000


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(2000))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path: Path) -> None:
    """One byte in the first kilobyte, where the headers are."""
    data = bytearray(path.read_bytes())
    data[min(len(data), 1000) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def missing(path: Path) -> None:
    path.unlink()


ANY: list[Callable[[Path], None]] = [empty, garbage, cut, cut_end, flipped, folder, missing]


def json_values(path: Path) -> Iterator[str]:
    """Texts of JSON that are not what the file holds."""
    yield from ("[]", "3", "null", "{}", HUGE, DEEP, '{"stages": ' + HUGE + "}", '{"a": 1e999}')
    value = read_json(path)
    for key in value:
        for other in (None, [], {}, "x", -1, {"x": []}):
            yield json.dumps(value | {key: other})
        yield json.dumps({k: v for k, v in value.items() if k != key})
        yield json.dumps(value)[:-1] + f', "{key}": {HUGE[:4000]}}}'
        yield json.dumps(value)[:-1] + f', "{key}": {DEEP}}}'


def toml_values(path: Path) -> Iterator[str]:
    """Texts of TOML that are not what the file holds."""
    text = path.read_text("utf-8")
    yield from (f"seed = {HUGE}", f"seed = {DEEP}", "a." * 5000 + "b = 1", "seed = ", "x = 1")
    yield "[" + "a." * 5000 + "b]\nc = 1"
    yield text.replace("dim = 32", "dim = 16")
    yield text.replace('name = "rqt"', 'name = "tiger"')
    yield text.replace("seed = 0", "seed = -1")


def tensor_values(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Tensors and metadata that are not what the file holds."""
    tensors, about = read_tensors(path)
    yield {}, {}
    yield tensors, {}
    yield {f"other/{k}": v for k, v in tensors.items()}, about
    yield {k: v[:-1] if v.ndim else v[None] for k, v in tensors.items()}, about
    yield {k: v[..., None] for k, v in tensors.items()}, about
    yield {k: v.reshape(-1)[0] for k, v in tensors.items() if v.numel()}, about
    yield {k: v.to(torch.complex64) for k, v in tensors.items()}, about
    yield {k: torch.empty(0) for k in tensors}, about
    yield tensors, {key: [[]] for key in about}


def table_values(path: Path) -> Iterator[pl.DataFrame]:
    """Tables that are not what the file holds."""
    table = pl.read_parquet(path)
    yield pl.DataFrame()
    yield table.clear()
    yield table[:-1]
    yield table.reverse()
    for name in table.columns:
        yield table.drop(name)
        yield table.rename({name: "other"})
        yield table.with_columns(pl.lit(None).alias(name))
        yield table.with_columns(pl.lit(1.5).alias(name))
        yield table.with_columns(pl.lit("x").alias(name))
        yield table.with_columns(pl.lit([[1]]).alias(name))
        yield table.with_columns(pl.lit(2**40).alias(name))


def write_table(table: pl.DataFrame, path: Path, like: dict[str, str]) -> None:
    table.write_parquet(path, metadata={k: v for k, v in like.items() if k != "ARROW:schema"})


def damages(path: Path) -> Iterator[tuple[str, Callable[[Path], Any]]]:
    """Names and what is done to a file; a whole copy of it is at ``path``."""
    for damage in ANY:
        yield damage.__name__, damage
    if path.suffix == ".json":
        for text in json_values(path):
            yield f"json {text[:60]}", lambda p, text=text: p.write_text(text)
    elif path.suffix == ".toml":
        for text in toml_values(path):
            yield f"toml {text[:60]}", lambda p, text=text: p.write_text(text)
    elif path.suffix == ".safetensors":
        for i, (tensors, about) in enumerate(tensor_values(path)):
            yield f"tensors {i}", lambda p, t=tensors, a=about: write_tensors(p, t, a)
    elif path.suffix == ".parquet":
        like = pl.read_parquet_metadata(path)
        for i, table in enumerate(table_values(path)):
            yield f"table {i}", lambda p, table=table: write_table(table, p, like)
        yield "no metadata", lambda p: pl.read_parquet(path).write_parquet(p)


FILES = [
    "run.json",
    "settings.toml",
    "data/interactions.parquet",
    "data/items.parquet",
    "content.safetensors",
    "collaborative.safetensors",
    "identifiers.parquet",
    "recommender.safetensors",
    "transitions.safetensors",
    "diagnostics.json",
    "metrics.json",
    "ranks.safetensors",
    "catalogue.parquet",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer.safetensors",
    "training/recommender/checkpoint.safetensors",
]


@pytest.fixture(scope="module")
def edited_run(shop_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with an item added since."""
    whole = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(shop_run, whole)
    table = whole.parent / "new.csv"
    table.write_text("item,title\nnew,red lipstick no. 99\n")
    assert letterrec("add-items", whole, table) == 0
    return whole


def outcome(
    command: str, run: Path, capsys: pytest.CaptureFixture[str], *further: str
) -> tuple[int, str]:
    """The exit code, and what stands on stderr without the lines of progress."""
    files = {"REPORT": str(run.parent / "r.html"), "NEW": str(run.parent / "new.csv")}
    arguments = [files.get(argument, argument) for argument in COMMANDS[command]]
    code = letterrec(command, run, *arguments, *further)
    said = capsys.readouterr().err.splitlines()
    return code, "\n".join(line for line in said if not line.startswith(" "))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_every_damage_to_every_file_is_one_line(
    name: str, edited_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(edited_run, run)
    path = run / name
    whole = edited_run / name
    new = tmp_path / "new.csv"
    new.write_text("item,title\nnewer,chess set no. 98\n")
    capsys.readouterr()
    refusals = 0
    wrong = []
    for i, (label, damage) in enumerate(damages(whole)):
        damage(path)
        codes = []
        readers = list(READ_BY.get(name, COMMANDS))  # each damage meets one, each of them many
        for command in COMMANDS if damage in ANY else [readers[i % len(readers)]]:
            try:
                code, said = outcome(command, run, capsys)
            except Exception as error:
                code, said = 1, repr(error)
            if len(said.splitlines()) != (1 if code == 2 else 0) or len(said) > 1200:
                wrong.append((label, command, code, said[:1200]))
            codes.append(code)
        refusals += 2 in codes
        if path.is_dir():
            path.rmdir()
        shutil.copy(whole, path)
        shutil.copy(edited_run / "catalogue.parquet", run / "catalogue.parquet")
    assert not wrong, "\n".join(map(str, wrong))
    assert refusals > 2 or name.startswith(("training", "ranks"))  # what only later steps read


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, who may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", [n for n in FILES if "/" not in n and "ranks" not in n])
def test_a_missing_right_is_said_as_such(name: str, edited_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(edited_run, run)
    for parent in (tmp_path, *tmp_path.parents):  # that of pytest's folders is the user's alone
        if parent.stat().st_uid == os.geteuid() and len(parent.parts) > 2:
            parent.chmod(0o755)
    for path in run.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (run / name).chmod(0)
    if name in ("diagnostics.json", "metrics.json"):
        read: Callable[[], Any] = getattr(Run.open(run), name.removesuffix(".json"))
    else:
        read = lambda: api.load(run)  # noqa: E731
    if name == "collaborative.safetensors":
        read = lambda: Run.open(run).embeddings("collaborative", 60)  # noqa: E731
    with nobody(), pytest.raises(LetterRecError, match=r"[Pp]ermission denied") as caught:
        read()
    assert "\n" not in str(caught.value)


def test_a_run_of_a_newer_format_is_refused(
    shop_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(shop_run, run)
    (tmp_path / "new.csv").write_text("item,title\nnewer,chess set no. 98\n")
    assert read_json(run / "run.json")["format"] == FORMAT
    write_json(run / "run.json", {"format": FORMAT + 1, "letterrec": "99"})
    for command in COMMANDS:
        code, said = outcome(command, run, capsys)
        assert code == 2
        assert f"made by a newer version (format {FORMAT + 1}" in said


def test_a_run_that_keeps_retired_settings_loads(shop_run: Path, tmp_path: Path) -> None:
    """Earlier versions resolved collisions by Sinkhorn's algorithm, with settings of its own."""
    run = tmp_path / "run"
    shutil.copytree(shop_run, run)
    kept = tomllib.loads((run / "settings.toml").read_text("utf-8"))
    kept["identifiers"] |= {"sinkhorn_epsilon": 0.003, "sinkhorn_iterations": 50}
    (run / "settings.toml").write_text(tomli_w.dumps(kept))
    about = read_json(run / "tokenizer" / "tokenizer.json")
    write_json(run / "tokenizer" / "tokenizer.json", {**about, "sinkhorn_epsilon": 0.003})
    assert Run.open(run).settings == Run.open(shop_run).settings
    assert load_tokenizer(run / "tokenizer").settings == (
        load_tokenizer(shop_run / "tokenizer").settings
    )


def test_a_run_without_a_format_is_of_the_version_before(
    shop: Path, shop_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Format 1 had neither a number nor what came beside the interactions one by one."""
    caplog.set_level("INFO")
    run = tmp_path / "run"
    shutil.copytree(shop_run, run)
    about = read_json(run / "run.json")
    del about["format"]
    del about["stages"]["read"]["side_fingerprints"]
    write_json(run / "run.json", about)
    before = api.load(shop_run).recommend([["i01", "i02"]])
    assert api.load(run).recommend([["i01", "i02"]]) == before
    Run.open(run).check_data(Run.open(run).dataset())
    del about["stages"]["read"]["side_fingerprint"]
    write_json(run / "run.json", about)
    Run.open(run).check_data(Run.open(run).dataset())
    assert "they are taken to be the same" in caplog.text
