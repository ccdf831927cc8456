"""Ids of one file and of another beside it: the same, or said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from letterrec.data import Dataset, read
from letterrec.errors import DataError

WriteTable = Callable[[pl.DataFrame, Path], Path]


def folder_of(folder: Path, items: list[Any], catalogue: list[Any], users: str = "") -> Path:
    rows = [f"u,{item},{time}" for time, item in enumerate(items)]
    (folder / "interactions.csv").write_text("\n".join(["user,item,timestamp", *rows]) + "\n")
    titles = [f"{item},T{n}" for n, item in enumerate(catalogue)]
    (folder / "items.csv").write_text("\n".join(["item,title", *titles]) + "\n")
    if users:
        (folder / "users.csv").write_text(users)
    return folder


def read_of(folder: Path, items: list[Any], catalogue: list[Any]) -> Dataset:
    return read(folder_of(folder, items, catalogue), k_core=0)


def test_a_catalogue_of_other_ids_is_refused(tmp_path: Path) -> None:
    expected = (
        r"items.csv: none of its 2 items is among the 2 kept of .*interactions.csv "
        r"\('108775015' in the log, '0108775015' in items.csv\); write the ids of both files "
        "alike, or take items.csv away"
    )
    with pytest.raises(DataError, match=expected):
        read_of(tmp_path, [108775014, 108775015], ["x", "0108775015"])


def test_a_catalogue_of_few_of_the_items_is_said_loudly(tmp_path: Path) -> None:
    dataset = read_of(tmp_path, ["a", "b", "c"], ["a", "B2", "C2"])
    expected = (
        "ONLY 1 of the log's 3 items are in items.csv ('b' in the log, 'B2' in items.csv): "
        "are the ids of both written alike?"
    )
    assert expected in dataset.warnings


def test_ids_that_differ_in_zeros_or_case_are_said(tmp_path: Path) -> None:
    dataset = read_of(tmp_path, ["a", "b", "7"], ["a", "b", "007"])
    expected = (
        "items.csv has ids that differ from the log's in leading zeros or case only ('7' in the "
        "log, '007' in items.csv): read as different items"
    )
    assert expected in dataset.warnings
    assert dataset.titles == ("7", "T0", "T1")


def test_case_alone_makes_another_id(tmp_path: Path) -> None:
    assert read_of(tmp_path, ["a", "A"], ["a", "A"]).titles == ("T1", "T0")
    said = read_of(tmp_path, ["a", "b"], ["A", "a", "b"]).warnings
    assert "1 catalogue item without interactions: dropped" in said
    assert "case only" not in "".join(said)


def test_a_catalogue_that_has_all_and_more_is_nothing_to_worry_about(tmp_path: Path) -> None:
    dataset = read_of(tmp_path, ["a", "b", "c"], ["a", "b", "c", "d", "e"])
    assert dataset.warnings == ("2 catalogue items without interactions: dropped",)


@pytest.mark.parametrize("form", ["{}.0", " {} ", "{}.00"])
def test_titles_are_found_whatever_tool_wrote_the_ids(tmp_path: Path, form: str) -> None:
    dataset = read_of(tmp_path, [form.format(i) for i in (1, 2, 3)], [1, 2, 3])
    assert dataset.item_ids == ("1", "2", "3")
    assert dataset.titles == ("T0", "T1", "T2")
    other = tmp_path / "other"
    other.mkdir()
    assert read_of(other, [1, 2, 3], [form.format(i) for i in (1, 2, 3)]).titles == dataset.titles


def test_one_nan_changes_no_other_id(tmp_path: Path) -> None:
    lines = [f'{{"user": "1", "item": {i}.0, "timestamp": {i}}}' for i in range(1, 5)]
    for folder, extra in (("with", ['{"user": NaN, "item": 1.0, "timestamp": 9}']), ("no", [])):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "interactions.jsonl"
        path.write_text("\n".join(lines + extra) + "\n")
    one, other = (read(tmp_path / folder, k_core=0) for folder in ("with", "no"))
    assert one.item_ids == other.item_ids == ("1", "2", "3", "4")
    assert one.fingerprint == other.fingerprint
    assert "1 interaction without user or item: dropped" in one.warnings


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_whole_numbers_as_floats_are_counted(
    tmp_path: Path, kind: str, write_table: WriteTable
) -> None:
    frame = pl.DataFrame(
        {"user": [1.0, 1.0, None], "item": ["a", "b", "a"], "timestamp": [1, 2, 3]}
    )
    write_table(frame, tmp_path / f"interactions.{kind}")
    dataset = read(tmp_path, k_core=0)
    assert dataset.user_ids == ("1",)
    assert "1 interaction without user or item: dropped" in dataset.warnings
    if kind != "jsonl":
        line = "2 user ids stored as floats ('1.0'): read as whole numbers ('1')"
        assert line in dataset.warnings


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "user,item,timestamp\nu,a,1\n".encode("utf-16"),
            r"interactions.csv is UTF-16; convert it",
        ),
        (
            "user,item,timestamp\nu,a,1\n".encode("utf-16-le"),
            r"has NUL bytes .*; convert it to UTF",
        ),
        (b"user,item,timestamp\ru,a,1\ru,b,2\r", r"lines that end in \\r alone; .* with \\n"),
        (
            b"user,item,item,timestamp\nu,a,b,1\n",
            r"has two columns 'item'; expected each name once",
        ),
        (b'user,item,timestamp\nu,"a,1\nu,b,2\n', r"interactions.csv cannot be read \("),
        (b"user,item,timestamp\nu,a,1,9\n", r"has 4 fields in line 2, its header has 3"),
    ],
)
def test_a_csv_that_would_be_read_wrongly_is_refused(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    (tmp_path / "interactions.csv").write_bytes(content)
    with pytest.raises(DataError, match=expected):
        read(tmp_path, k_core=0)


def test_rows_that_are_short_or_blank_are_counted(tmp_path: Path) -> None:
    rows = [f"u,i{n},{n}" for n in range(20)]
    text = "\r\n".join(["user,item,timestamp", *rows, "", "u,x", "u", ""])
    (tmp_path / "interactions.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    dataset = read(tmp_path, k_core=0)
    assert dataset.n_interactions == 20
    assert "1 interaction without a time (row 22 has time None): dropped" in dataset.warnings
    assert "2 interactions without user or item: dropped" in dataset.warnings


@pytest.mark.parametrize(
    "value", ["true", '["a"]', '{"a": 1}', "1e16", "1.5e300", "9007199254740993.0"]
)
def test_json_that_is_no_id_is_refused_with_its_line(tmp_path: Path, value: str) -> None:
    lines = ['{"user": "u", "item": "a", "timestamp": 1}']
    lines.append(f'{{"user": "u", "item": {value}, "timestamp": 2}}')
    (tmp_path / "interactions.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"interactions.jsonl: line 2: .*(is no id|lost digits)"):
        read(tmp_path, k_core=0)


def test_large_integers_stay_exact_in_every_type(tmp_path: Path, write_table: WriteTable) -> None:
    large = [2**53 + 1, 2**53 + 2, 2**63 - 1]
    frame = pl.DataFrame({"user": [1, 1, 1], "item": large, "timestamp": [1, 2, 3]})
    for kind in ("csv", "parquet", "jsonl"):
        folder = tmp_path / kind
        folder.mkdir()
        write_table(frame, folder / f"interactions.{kind}")
        assert read(folder, k_core=0).item_ids == tuple(map(str, large))


def test_rows_of_the_catalogue_are_counted(tmp_path: Path) -> None:
    catalogue = ["a", "a", "", "nan", "b.0", " b", "3.0"]
    dataset = read(folder_of(tmp_path, ["a", "b", "3"], catalogue), k_core=0)
    assert dataset.titles == ("T6", "T0", "T5")
    assert dataset.warnings == (
        "2 rows of items.csv without item: dropped",
        "1 row of items.csv for the same item again: the first counts",
        "1 item id of items.csv stored as a float ('3.0'): read without the fraction",
        "1 item id of items.csv with spaces around it: read without",
        "1 catalogue item without interactions: dropped",
    )


def test_users_that_are_not_in_the_log_are_counted(tmp_path: Path) -> None:
    users = "user,preference\nu.0,x\nu,mild\n,none\nzoe,strong\n"
    dataset = read(folder_of(tmp_path, ["a"], ["a"], users), k_core=0)
    assert dataset.preferences == ("mild",)
    assert "1 row of users.csv without user: dropped" in dataset.warnings
    assert "2 users of users.csv not in the log: left out" in dataset.warnings
    (tmp_path / "users.csv").write_text("user,preference\nU,mild\n")
    with pytest.raises(
        DataError, match=r"users.csv: none of its 1 user is among the 1 kept .*'u' in the log, 'U'"
    ):
        read(tmp_path, k_core=0)


def test_recbole_obeys_the_rule(tmp_path: Path) -> None:
    rows = ["user_id:token\titem_id:token\ttimestamp:float", "1.0\t7.0\t1", " 1\t8\t2", "1\tnan\t3"]
    (tmp_path / "a.inter").write_text("\n".join(rows) + "\n")
    items = ["item_id:token\tname:token_seq", "7\tSeven", "8.0\tEight"]
    (tmp_path / "a.item").write_text("\n".join(items) + "\n")
    dataset = read(tmp_path, k_core=0)
    assert (dataset.user_ids, dataset.titles) == (("1",), ("Seven", "Eight"))
    assert "1 interaction without user or item: dropped" in dataset.warnings


def test_yelp_obeys_the_rule(tmp_path: Path) -> None:
    reviews = [
        {"user_id": " u", "business_id": item, "stars": 5, "date": "2018-07-31 10:00:00"}
        for item in (1.0, 2, "3 ", None)
    ]
    businesses = [{"business_id": item, "name": f"N{item}"} for item in ("1", "2.0", 3, None)]
    for kind, rows in (("review", reviews), ("business", businesses)):
        path = tmp_path / f"yelp_academic_dataset_{kind}.json"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = read(tmp_path, k_core=0)
    assert dataset.titles == ("N1", "N2.0", "N3")
    assert "1 row of yelp_academic_dataset_business.json without item: dropped" in dataset.warnings


# LETTER's layout


def letter(folder: Path, **files: Any) -> Path:
    for kind, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"A.{kind}.json").write_text(text)
    return folder


def test_letters_layout_obeys_the_rule(tmp_path: Path) -> None:
    letter(
        tmp_path,
        inter={"1.0": [1.0, "2", " 3"], "b": [1]},
        item={"1": {"title": "one"}, "2.0": {"title": "two"}, "3": "three", "nan": "none"},
        user={" b": "mild"},
    )
    dataset = read(tmp_path)
    assert dataset.user_ids == ("1", "b")
    assert dataset.titles == ("one", "two", "three")
    assert dataset.preferences == ("", "mild")
    said = "\n".join(dataset.warnings)
    assert "2 interactions whose item was stored as a float or with spaces" in said
    assert "1 user id of A.inter.json read as whole numbers or without spaces ('1.0')" in said
    assert "1 key of A.item.json without item: dropped" in said


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"inter": '{"u": [1], "u": [2]}'}, r"has the key 'u' twice in one object"),
        ({"inter": {"1": [1], "1.0": [2]}}, r"'1' and '1.0' are the same user; expected each once"),
        ({"inter": {"u": [1, float("nan")]}}, r"user 'u' has the item nan; expected an integer"),
        ({"inter": {"u": [[1]]}}, r"user 'u': \[1\] is no id \(list\)"),
        (
            {"inter": {"u": [1]}, "item": {"01": "x"}},
            r"A.item.json: none of its 1 item is among the 1 kept of .*A.inter.json \('1' in the",
        ),
    ],
)
def test_letters_layout_loses_nothing_silently(
    tmp_path: Path, files: dict[str, Any], expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        read(letter(tmp_path, **files))


def test_ids_that_differ_in_unicode_normalisation_are_said(tmp_path: Path) -> None:
    dataset = read_of(tmp_path, ["caf\u00e9", "b", "c"], ["cafe\u0301", "b", "c"])
    expected = (
        "items.csv has ids that differ from the log's in Unicode normalisation only "
        r"('caf\xe9' in the log, 'cafe\u0301' in items.csv): read as different items"
    )
    assert expected in dataset.warnings


def test_a_half_that_matches_is_said(tmp_path: Path) -> None:
    dataset = read_of(tmp_path, ["caf\u00e9", "b"], ["cafe\u0301", "b"])
    expected = r"ONLY 1 of the log's 2 items are in items.csv ('caf\xe9' in the log, 'cafe\u0301'"
    assert expected in "".join(dataset.warnings)


def test_titles_that_are_objects_are_counted(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a", "b"], [])
    (tmp_path / "items.csv").unlink()
    lines = ['{"item": "a", "title": {"en": "A"}}', '{"item": "b", "title": "B"}']
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    note = "1 title of items.jsonl no text but an object ({'en': 'A'}): left out"
    assert note in read(tmp_path, k_core=0).warnings


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_array_is_no_json_lines(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "interactions.json"
    path.write_text(json.dumps([{"user": "u", "item": "a", "timestamp": 1}], indent=indent))
    with pytest.raises(DataError, match="line 1 begins a JSON array; expected JSON lines, one obj"):
        read(tmp_path, k_core=0)
