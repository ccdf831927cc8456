from pathlib import Path

import numpy as np
import polars as pl
import pytest

from letterrec.errors import IdentifierError
from letterrec.identifiers.identifiers import PAD_TOKEN, Identifiers, parse_tokens

CODES = np.array([[1, 2, 0], [1, 3, 255], [0, 2, 7]], dtype=np.int32)


def test_tokens_of_different_levels_never_meet():
    identifiers = Identifiers(np.array([[3, 3], [0, 1]], dtype=np.int32), (4, 4))
    assert identifiers.tokens.tolist() == [[5, 9], [2, 7]]
    assert identifiers.n_tokens == 10


def test_a_shorter_identifier_is_padded_and_spelled_without_its_padding():
    identifiers = Identifiers(np.array([[3, -1]], dtype=np.int32), (4, 4))
    assert identifiers.tokens[0, 1] == PAD_TOKEN
    assert identifiers.spelled(0) == "<a_3>"


def test_saved_identifiers_come_back(tmp_path: Path):
    identifiers = Identifiers(CODES, (256, 256, 512))
    identifiers.save(tmp_path / "identifiers.parquet", ["x", "7", "é"])
    loaded = Identifiers.load(tmp_path / "identifiers.parquet", ("x", "7", "é"))
    assert loaded.codes.tolist() == CODES.tolist()
    assert loaded.codes.dtype == np.int32
    assert loaded.sizes == (256, 256, 512)
    columns = pl.read_parquet(tmp_path / "identifiers.parquet").columns
    assert columns == ["item", "level_1", "level_2", "level_3"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (("x", "z", "y"), r"row 1 is 'y', expected 'z'"),
        (("x", "y"), r"3 identifiers for 2 items; expected one identifier per item"),
    ],
)
def test_identifiers_of_other_items_are_refused(tmp_path: Path, ids, message):
    Identifiers(CODES, (256,) * 3).save(tmp_path / "identifiers.parquet", ("x", "y", "z"))
    with pytest.raises(IdentifierError, match=message):
        Identifiers.load(tmp_path / "identifiers.parquet", ids)


def test_saving_refuses_a_wrong_number_of_items(tmp_path: Path):
    with pytest.raises(IdentifierError, match="3 identifiers for 1 items"):
        Identifiers(CODES, (256,) * 3).save(tmp_path / "identifiers.parquet", ("x",))


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really", None])
def test_a_damaged_or_missing_file_is_one_line(tmp_path: Path, content: bytes | None):
    path = tmp_path / "identifiers.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(IdentifierError, match=r"is missing|holds no identifiers") as caught:
        Identifiers.load(path, ("x",))
    assert "\n" not in str(caught.value)


def test_another_parquet_file_is_refused(tmp_path: Path):
    pl.DataFrame({"item": ["x"], "level_1": [3]}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(IdentifierError, match="holds no identifiers"):
        Identifiers.load(tmp_path / "t.parquet", ("x",))


def test_parse_tokens_keeps_collisions_and_lengths():
    identifiers = parse_tokens([("<a_1>", "<b_2>"), ("<a_1>", "<b_2>"), ("<a_5>",)])
    assert identifiers.codes.tolist() == [[1, 2], [1, 2], [5, -1]]
    assert identifiers.sizes == (256, 256)


@pytest.mark.parametrize(
    ("given", "sizes"), [([("<a_255>",)], (256,)), ([("<a_256>",)], (512,)), ([], ())]
)
def test_sizes_are_powers_of_two_from_256(given, sizes):
    assert parse_tokens(given).sizes == sizes


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("a_1", r"token 'a_1' of item 0; expected one like '<a_12>'"),
        ("<a_-1>", "expected one like"),
        ("<a_99999999999>", "expected one like"),
    ],
)
def test_what_is_no_token_is_refused(token: str, message: str):
    with pytest.raises(IdentifierError, match=message):
        parse_tokens([(token,)])


def test_an_item_without_identifier_is_refused():
    with pytest.raises(IdentifierError, match="item 1 has no identifier"):
        parse_tokens([("<a_1>",), ()])
