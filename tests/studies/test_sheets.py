"""How a study's tables are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from letterrec.errors import RunError
from letterrec.studies.sheets import Sheet, write_section


def test_markdown_of_a_sheet() -> None:
    sheet = Sheet("title", ["a", "b"], [["  x", ""], ["y", "2"]], "note")
    assert sheet.markdown() == "| a | b |\n| --- | ---: |\n| x |   |\n| y | 2 |\n\nnote\n"


def test_a_section_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    file.write_text("# Results\n\nby hand\n")
    write_section(file, "one", "first\n")
    write_section(file, "two", "second")
    write_section(file, "one", "first again")
    assert file.read_text() == (
        "# Results\n\nby hand\n\n<!-- begin: one -->\nfirst again\n<!-- end: one -->\n\n"
        "<!-- begin: two -->\nsecond\n<!-- end: two -->\n"
    )


def test_a_new_file_begins_with_the_section(tmp_path: Path) -> None:
    write_section(tmp_path / "docs" / "new.md", "one", "text")
    assert (tmp_path / "docs" / "new.md").read_text().startswith("<!-- begin: one -->\ntext")


def test_half_a_section_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    file.write_text("<!-- begin: one -->\nprecious")
    with pytest.raises(RunError, match="end: one"):
        write_section(file, "one", "text")
    assert file.read_text() == "<!-- begin: one -->\nprecious"
