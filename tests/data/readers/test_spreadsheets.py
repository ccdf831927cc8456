"""CSV files as people and their programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from letterrec.data import read
from letterrec.errors import DataError

HEADER = "user,item,timestamp\n"
ROWS = "a,x,1500000000\na,y,1500000001\na,z,1500000002\n"


def write(folder: Path, text: str | bytes, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "\n \n" + HEADER + ROWS,
        "sep=,\n" + HEADER + ROWS,
        "\ufeffsep=,\r\n" + (HEADER + ROWS).replace("\n", "\r\n"),
        "sep=;\n" + (HEADER + ROWS).replace(",", ";"),
    ],
)
def test_lines_before_the_header(tmp_path: Path, text: str) -> None:
    dataset = read(write(tmp_path, text), k_core=0)
    assert (dataset.user_ids, dataset.item_ids) == (("a",), ("x", "y", "z"))


def test_quotes_after_a_backslash(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + 'a,"the \\"x\\", y",1500000003\n' + ROWS)
    assert 'the "x", y' in read(path, k_core=0).item_ids
    path = write(tmp_path, HEADER + 'a,"C:\\",1500000003\n' + ROWS)
    assert "C:\\" in read(path, k_core=0).item_ids


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("# made by me\n" + HEADER + ROWS, r"begins with the comment '# made by me' \(line 1\)"),
        (HEADER + ROWS + "a,b, c,1500000003\n", "has 4 fields in line 5, its header has 3; put"),
        (HEADER + 'a,12" red,1500000000\n' + ROWS, "has a quote within a field in line 2; put"),
        (HEADER + 'a,"12" red",1500000000\n' + ROWS, "has a quote within a field in line 2; put"),
        ((HEADER + "a,caf\xe9,1\n").encode("latin-1"), "is not UTF-8: convert it to UTF-8"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str | bytes, answer: str) -> None:
    with pytest.raises(DataError, match=f"log.csv {answer}"):
        read(write(tmp_path, text), k_core=0)


def test_titles_by_id_beside_a_log_of_another_name(tmp_path: Path) -> None:
    log = write(tmp_path, "user_id,recipe_id,date\n" + ROWS)
    write(tmp_path, "id,title\nx,Ex\ny,Why\nz,Zed\n", "meta.csv")
    dataset = read(log, k_core=0)
    assert dataset.titles == ("Ex", "Why", "Zed")
    assert "meta.csv beside it is read for titles and texts" in dataset.warnings


def test_a_table_of_other_ids_does_not_hinder(tmp_path: Path) -> None:
    log = write(tmp_path, "user_id,recipe_id,date\n" + ROWS)
    write(tmp_path, "id,name\n1,Soups\n", "kinds.csv")
    dataset = read(log, k_core=0)
    assert dataset.texts is None
    assert "kinds.csv is not read: its ids are none of the log's" in "".join(dataset.warnings)


def test_a_table_of_items_without_rows_is_said(tmp_path: Path) -> None:
    log = write(tmp_path, HEADER + ROWS, "interactions.csv")
    write(tmp_path, "item,title\n", "items.csv")
    assert "items.csv has no rows: nothing is read from it" in read(log, k_core=0).warnings
