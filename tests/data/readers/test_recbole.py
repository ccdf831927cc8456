from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from letterrec.data import Dataset, read

INTER = """\
user_id:token\titem_id:token\trating:float\ttimestamp:float
196\t242\t3\t881250949
22\t242\t1\t878887116
196\t51\t2\t881250949
196\t346\t1\t881250001
22\t51\t5\t878887115
"""
ITEM = """\
item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tprice:float
242\tKolya "the"\t1996\tComedy Drama\t1.5
51\tLegends\t\tDrama\t2.5
999\tUnseen\t1990\tWestern\t3.5
"""


def test_atomic_files(
    tmp_path: Path, sequences_of: Callable[[Dataset], dict[str, list[str]]]
) -> None:
    (tmp_path / "tiny.inter").write_text(INTER)
    (tmp_path / "tiny.item").write_text(ITEM)
    dataset = read(tmp_path, k_core=1)
    assert dataset.name == "tiny"
    assert dataset.item_ids == ("51", "242", "346")
    assert sequences_of(dataset) == {"22": ["51", "242"], "196": ["346", "242", "51"]}
    assert dataset.titles == ("Legends", 'Kolya "the"', "346")
    assert dataset.texts == ("Legends. Drama", 'Kolya "the". 1996. Comedy Drama', "346")
    assert dataset.categories == (("Drama",), ("Comedy", "Drama"), ())
    assert "1 catalogue item without interactions: dropped" in dataset.warnings


def test_without_items(tmp_path: Path) -> None:
    (tmp_path / "tiny.inter").write_text(INTER)
    dataset = read(tmp_path, k_core=1)
    assert (dataset.titles, dataset.texts) == (("51", "242", "346"), None)


def test_a_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    (tmp_path / "tiny.inter").write_bytes(b"\xef\xbb\xbf" + INTER.replace("\n", "\r\n").encode())
    assert read(tmp_path, k_core=1).user_ids == ("22", "196")
