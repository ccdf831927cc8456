"""The example of docs/DATA.md: a format of one's own is one module and one line."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from letterrec.data import read
from letterrec.data.readers import discovery
from letterrec.data.readers.base import ReadOptions
from letterrec.errors import DataError

PAGE = Path(__file__).parents[3] / "docs" / "DATA.md"
VISITS = "ann a@1500000003 b@1500000001\nbob b@1500000002\n"


@pytest.fixture
def example() -> ModuleType:
    """The module that the page shows."""
    section = PAGE.read_text("utf-8").split("## A format of your own", 1)[1]
    code = re.search(r"```python\n(.*?)```", section, re.S)
    assert code is not None
    module = ModuleType("visits")
    exec(code[1], module.__dict__)
    return module


def test_the_example_reads_its_format(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.visits").write_text(VISITS)
    with pytest.raises(DataError, match="of no known format"):
        read(tmp_path, k_core=0)
    monkeypatch.setattr(discovery, "READERS", (*discovery.READERS, example.READER))
    for source in (tmp_path, tmp_path / "shop.visits"):
        dataset = read(source, k_core=0)
        assert dataset.user_ids == ("ann", "bob")
        assert dataset.item_ids == ("a", "b")
        assert [s.tolist() for s in dataset.interactions] == [[1, 0], [1]]  # by time


def test_it_is_one_of_several_formats_where_others_are_beside_it(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "READERS", (*discovery.READERS, example.READER))
    (tmp_path / "shop.visits").write_text(VISITS)
    (tmp_path / "interactions.csv").write_text("user,item,timestamp\nu,a,1500000000\n")
    with pytest.raises(DataError, match=r"several formats \(tables, visits\)"):
        read(tmp_path)
    assert read(tmp_path / "shop.visits", k_core=0).n_users == 2


@pytest.mark.parametrize(("amazon", "yelp"), [("a.jsonl", "b.jsonl"), ("b.jsonl", "a.jsonl")])
def test_the_first_file_tells_a_format_of_contents(tmp_path: Path, amazon: str, yelp: str) -> None:
    (tmp_path / amazon).write_text('{"user_id": "u", "parent_asin": "i", "timestamp": 1}\n')
    (tmp_path / yelp).write_text('{"user_id": "u", "business_id": "i", "stars": 1, "date": 1}\n')
    reader = discovery.discover(tmp_path, ReadOptions())
    assert reader.name == ("Amazon 2023" if amazon < yelp else "Yelp")
