from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from letterrec.data.ids import SPACE, as_id, as_ids, as_text, coded

TEXTS = st.one_of(
    st.text(max_size=8),
    st.text(st.sampled_from("0123456789.+-eE nNaAuUlL<>" + SPACE), max_size=8),
    st.from_regex(r"[+-]?[0-9]{0,20}\.0{0,20}", fullmatch=True),
    st.from_regex(r"[+-]?[0-9](\.[0-9]{1,3})?[eE]\+?[0-9]{1,2}", fullmatch=True),
)
FLOATS = st.one_of(st.floats(), st.integers(-(2**54), 2**54).map(float))


def of_each(values: list[Any]) -> list[str | None] | str:
    try:
        return [as_id(v) for v in values]
    except ValueError as error:
        return str(error)


def of_column(values: list[Any], dtype: Any) -> list[str | None] | str:
    series = pl.Series("v", values, dtype=dtype)
    try:
        return as_ids(series.to_frame().select(as_text("v", series.dtype))["v"]).to_list()
    except ValueError as error:
        return str(error)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(TEXTS, st.none()), max_size=6))
def test_a_column_of_text_obeys_the_rule(values: list[str | None]) -> None:
    assert of_column(values, pl.String) == of_each(values)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.none()), max_size=6))
def test_a_column_of_integers_obeys_the_rule(values: list[int | None]) -> None:
    assert of_column(values, pl.Int64) == of_each(values)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(FLOATS, st.none()), max_size=6))
def test_a_column_of_floats_obeys_the_rule(values: list[float | None]) -> None:
    found, expected = of_column(values, pl.Float64), of_each(values)
    if isinstance(expected, str):  # the error shows the value as its column has it
        assert isinstance(found, str)
        assert found[found.index("stored") :] == expected[expected.index("stored") :]
        return
    for one, other, value in zip(found, expected, values, strict=True):
        if value is None or math.isnan(value) or value.is_integer():
            assert one == other
        else:  # 1e-7 or 1e-07: a fraction is the same number
            assert one is not None
            assert float(one) == float(other or "nan")


def test_decimals_are_exact() -> None:
    values = [Decimal("9007199254740993.00"), Decimal("7.00"), None]
    assert of_each(values) == ["9007199254740993", "7", None]
    assert of_column(values, pl.Decimal(20, 2)) == of_each(values)


def test_floats_of_32_bits_lose_digits_earlier() -> None:
    assert of_column([7.0, None], pl.Float32) == ["7", None]
    assert "may have lost digits" in of_column([16_777_216.0], pl.Float32)


@pytest.mark.parametrize(
    "value", [True, ["1"], {"a": 1}, b"1", "9007199254740993.0", 1e16, "1.5E16", "\ud800"]
)
def test_what_cannot_be_an_id(value: Any) -> None:
    with pytest.raises(ValueError, match=r"is no id|lost digits|not UTF-8"):
        as_id(value)


def test_large_integers_stay_exact() -> None:
    assert as_id(2**53 + 1) == as_id(str(2**53 + 1)) == "9007199254740993"


def test_what_the_rule_changed_is_counted() -> None:
    column = pl.Series(["1.0", "1", " 1", "nan", None, "A", "a", "1.0"], dtype=pl.Categorical)
    notes: list[str] = []
    found = coded(column, "user", notes)
    assert found.known.tolist() == [True, True, True, False, False, True, True, True]
    assert sorted(found.names["id"]) == ["1", "A", "a"]
    assert len(set(found.codes[[0, 1, 2, 7]])) == 1
    assert notes == [
        "1 user id like 'nan': read as missing",
        "2 user ids stored as floats ('1.0'): read as whole numbers ('1')",
        "1 user id with spaces around them (' 1'): read without ('1')",
    ]
