"""Files in every form that they come in: the same rows, and a path is a path."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from letterrec.data import Dataset, find_sources, read
from letterrec.data.readers.item_tables import read_items
from letterrec.data.readers.table_files import open_table
from letterrec.errors import DataError

SequencesOf = Callable[[Dataset], dict[str, list[str]]]
ROWS = [("al", "008", "1500000003"), ("al", "007", "1500000001"), ("bo", "007", "1500000002")]
SEQUENCES = {"al": ["007", "008"], "bo": ["007"]}
COLUMNS = ("user", "item", "timestamp")


def text(separator: str = ",", rows: list[tuple[str, ...]] = ROWS) -> str:
    return "".join(separator.join(row) + "\n" for row in [COLUMNS, *rows])


def frame(rows: list[tuple[str, ...]] = ROWS) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def parts(folder: Path) -> None:
    """Part files as other tools write them; part-10 comes after part-2."""
    folder.mkdir()
    frame(ROWS[:1]).write_parquet(folder / "part-2.snappy.parquet")
    frame(ROWS[1:]).write_parquet(folder / "part-10.snappy.parquet")
    (folder / "_SUCCESS").write_text("")
    (folder / ".part-2.crc").write_bytes(b"\0")


def hive(folder: Path) -> None:
    for user in ("al", "bo"):
        inside = folder / f"user={user}" / "part=1"
        inside.mkdir(parents=True)
        frame([r for r in ROWS if r[0] == user]).drop("user").write_parquet(inside / "0.parquet")


def write(content: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content)


WAYS: dict[str, Callable[[Path], object]] = {
    "interactions.csv.gz": write(gzip.compress(text().encode())),
    "interactions.tsv": write(text("\t")),
    "interactions.tsv.gz": write(gzip.compress(text("\t").encode())),
    "interactions.txt": write(text("\t")),
    "interactions.dat": write(text("::")),
    "Interactions.CSV": write(text()),
    "INTERACTIONS.CSV.GZ": write(gzip.compress(text().encode())),
    "interactions.csv": write("\ufeff" + text(";")),
    "interactions.jsonl.gz": write(gzip.compress(frame().write_ndjson().encode())),
    "interactions.pq": lambda path: frame().write_parquet(path),
    "interactions": parts,
    "interactions.parquet": hive,
}


@pytest.mark.parametrize("inside", ["x[1]", "a=b", "what?*"])
@pytest.mark.parametrize("name", WAYS)
def test_the_same_rows(tmp_path: Path, name: str, inside: str, sequences_of: SequencesOf) -> None:
    folder = tmp_path / inside
    folder.mkdir()
    WAYS[name](folder / name)
    (folder / "items.tsv").write_text("item\ttitle\n007\tSeven\n")
    dataset = read(folder, k_core=0)
    assert sequences_of(dataset) == SEQUENCES
    assert dataset.titles == ("Seven", "008")
    assert dataset.name == inside
    alone = read(folder / name, k_core=0)
    assert alone.fingerprint == dataset.fingerprint
    assert find_sources(folder) == {inside: str(folder)}


@pytest.mark.parametrize("name", ["my log.csv", "ratings.parquet", "x[1].tsv"])
def test_a_source_that_is_one_file(tmp_path: Path, name: str, sequences_of: SequencesOf) -> None:
    path = tmp_path / name
    kinds = {".csv": text(), ".tsv": text("\t")}
    if path.suffix in kinds:
        path.write_text(kinds[path.suffix])
    else:
        frame().write_parquet(path)
    (tmp_path / "x1.tsv").write_text(text("\t", [("neighbour", "9", "5")]))
    dataset = read(path, k_core=0)
    assert sequences_of(dataset) == SEQUENCES
    assert dataset.name == path.stem


@pytest.mark.parametrize("name", ["events.parquet", "day"])
def test_a_source_that_is_a_folder_of_parts(
    tmp_path: Path, name: str, sequences_of: SequencesOf
) -> None:
    parts(tmp_path / name)
    assert sequences_of(read(tmp_path / name, k_core=0)) == SEQUENCES


def test_a_neighbour_is_never_read(tmp_path: Path) -> None:
    for name, rows in (("exp[1]", ROWS), ("exp1", [("neighbour", "9", "5")])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "interactions.csv").write_text(text(rows=rows))
    assert read(tmp_path / "exp[1]", k_core=0).user_ids == ("al", "bo")


def test_letters_files_with_brackets(tmp_path: Path) -> None:
    import torch

    (tmp_path / "A[1].inter.json").write_text('{"u": [0, 1]}')
    torch.save(torch.ones(2, 4), tmp_path / "A[1]-4d-x.pt")
    torch.save(torch.zeros(2, 4), tmp_path / "A1-4d-x.pt")
    (tmp_path / "B.inter.json").write_text('{"v": [0, 1]}')
    dataset = read(tmp_path / "A[1].inter.json")
    assert dataset.user_ids == ("u",)
    assert dataset.given_cf is not None
    assert (dataset.given_cf == 1).all()


def test_one_atomic_file_of_several(tmp_path: Path) -> None:
    for name in ("a", "b"):
        header = "user_id:token\titem_id:token\ttimestamp:float\n"
        (tmp_path / f"{name}.inter").write_text(f"{header}{name}\t2\t3\n")
    assert read(tmp_path / "b.inter", k_core=0).user_ids == ("b",)


def test_quotes_in_tabs_are_text_unless_around_whole_fields(tmp_path: Path) -> None:
    path = tmp_path / "items.tsv"
    path.write_text('item\ttitle\n1\t12" record\n2\t"Weird Al\n')
    assert [i.title for i in read_items(path).values()] == ['12" record', '"Weird Al']
    path.write_text('item\ttitle\n1\t"a\tb"\n')
    assert [i.title for i in read_items(path).values()] == ["a b"]


def test_the_keys_of_all_lines_count(tmp_path: Path) -> None:
    (tmp_path / "interactions.jsonl").write_text(
        '{"user": "u", "timestamp": 4}\n' + '{"user": "u", "item": "1", "timestamp": 5}\n' * 2
    )
    (tmp_path / "items.jsonl").write_text(
        '{"item": "2", "brand": "X"}\n' * 1500 + '{"item": "1", "title": "One"}\n'
    )
    dataset = read(tmp_path, k_core=0)
    assert dataset.titles == ("One",)
    late = '{"user": "u", "timestamp": 4}\n' * 1500 + '{"user": "u", "item": "1", "timestamp": 5}\n'
    (tmp_path / "interactions.jsonl").write_text(late)
    assert read(tmp_path, k_core=0).n_interactions == 1


def test_what_is_there_is_read_instead_of_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ml-100k").mkdir()
    (tmp_path / "ml-100k" / "ml-100k.inter").write_text(
        "user_id:token\titem_id:token\ttimestamp:float\n1\t14\t1500935994\n"
    )
    dataset = read("ml-100k", k_core=0, cache=tmp_path / "cache")
    assert dataset.n_interactions == 1
    assert dataset.warnings[0].startswith("./ml-100k is read")
    assert find_sources("ml-100k") == {"ml-100k": "ml-100k"}
    assert not (tmp_path / "cache").exists()


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x.bin is no table; expected .csv"):
        open_table(tmp_path / "x.bin", notes=[])
