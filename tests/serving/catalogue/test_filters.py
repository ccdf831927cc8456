"""Filters by attribute: the same items by every door, inside the search."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

import letterrec
from command import letterrec as command
from letterrec.errors import RequestError
from letterrec.serving.bulk import recommend_all
from letterrec.serving.catalogue.filters import Attributes

HISTORY = ["i03", "i04", "i05"]
BRAND_1 = {f"i{i:02d}" for i in range(60) if i % 4 == 1}  # as `conftest.write_shop` plants it
BRAND_2 = {f"i{i:02d}" for i in range(60) if i % 4 == 2}


@pytest.fixture(scope="module")
def engine(shop_run: Path) -> letterrec.Engine:
    return letterrec.load(shop_run)


def items(engine: letterrec.Engine, **options: Any) -> list[str]:
    (answer,) = engine.recommend([HISTORY], **options)
    return [item for item, _ in answer]


def test_a_filter_gives_what_the_list_of_its_items_gives(engine: letterrec.Engine) -> None:
    for where, allowed in (
        ({"brand": "brand 1"}, BRAND_1),
        ({"brand": ["brand 1", "brand 2"]}, BRAND_1 | BRAND_2),
    ):
        (found,) = engine.recommend([HISTORY], k=12, where=where)
        assert found == engine.recommend([HISTORY], k=12, allowed=allowed)[0]
        assert len(found) == 12


def test_it_goes_with_other_filters(engine: letterrec.Engine) -> None:
    found = items(engine, where={"brand": "brand 1"}, allowed=["i01", "i02", "i09"])
    assert set(found) == {"i01", "i09"}
    assert items(engine, where={"brand": "brand 1"}, allowed=["i02"]) == []


def test_a_mask_is_made_once(engine: letterrec.Engine) -> None:
    key = (("brand", ("brand 3",)),)
    mask = engine.catalogue.where(key)
    assert engine.catalogue.where(key) is mask
    allowed, before = engine.catalogue.allowed(mask)
    again = engine.catalogue.allowed(mask)
    assert again[0] is allowed
    assert again[1] is before
    assert before is not None
    assert int(before[0, -1]) == 15


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"colour": "red"}, "no attribute 'colour'; the catalogue has brand"),
        ({"brand": "brnd 1"}, "no item has brand = 'brnd 1'; did you mean 'brand 1'"),
        ({"brand": "x"}, "no item has brand = 'x'; values there, the most frequent first: 'br"),
        ({"brand": []}, "expected an attribute and a text"),
        ({"brand": None}, "expected an attribute and a text"),
        ("brand", "where = 'brand'"),
    ],
)
def test_what_no_item_has_is_refused(engine: letterrec.Engine, where: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        engine.recommend([HISTORY], where=where)


def test_by_the_command_line(
    shop_run: Path, engine: letterrec.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["recommend", shop_run, "--history", ",".join(HISTORY)]
    assert command(*given, "--where", "brand=brand 1", "--where", "brand=brand 2", "--json") == 0
    found = [i["item"] for i in json.loads(capsys.readouterr().out)["items"]]
    assert found == items(engine, where={"brand": ["brand 1", "brand 2"]})
    for wrong in ("brand=brnd 1", "colour=red", "brand"):
        assert command(*given, "--where", wrong) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_for_all_users(engine: letterrec.Engine, tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    where = {"brand": "brand 2"}
    recommend_all(engine, path, k=5, where=where)
    assert set(pl.read_parquet(path)["item"]) <= BRAND_2
    with pytest.raises(RequestError, match="no item has"):
        recommend_all(engine, tmp_path / "none.parquet", where={"brand": "Nobody"})
    assert not list(tmp_path.glob("none*"))


def test_over_http(client: httpx.Client, engine: letterrec.Engine) -> None:
    body = {"history": HISTORY, "k": 8, "where": {"brand": "brand 1"}}
    found = client.post("/v1/recommend", json=body).json()["items"]
    assert [i["item"] for i in found] == items(engine, k=8, where={"brand": "brand 1"})
    both = {"history": HISTORY, "where": {"brand": ["brand 1", "brand 2"]}}
    one = {"history": HISTORY, "where": {"colour": "red"}}
    answers = client.post("/v1/recommend/batch", json={"requests": [both, one]}).json()
    assert {i["item"] for i in answers["answers"][0]["items"]} <= BRAND_1 | BRAND_2
    assert answers["answers"][1]["error"]["status"] == 422
    refused = client.post("/v1/recommend", json={**one, "where": {"brand": "Nobody"}})
    assert refused.status_code == 422
    assert "no item has brand = 'Nobody'" in refused.json()["detail"]
    for wrong in ({"brand": []}, {"brand": {"a": 1}}, {"": "x"}, ["brand"]):
        assert client.post("/v1/recommend", json={**one, "where": wrong}).status_code == 422


@pytest.fixture(scope="module")
def instruments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose items have categories and further columns."""
    log = pl.DataFrame(
        [(u, i, u + i) for u in range(6) for i in range(6)],
        schema=["user", "item", "timestamp"],
        orient="row",
    )
    catalogue = pl.DataFrame(
        {
            "item": list(range(6)),
            "title": list("abcdef"),
            "categories": ["Music > Guitars", "Music > Drums"] * 3,
            "year": [1999, 2000, 2001] * 2,
            "price": [1.5] * 6,
        }
    )
    folder = tmp_path_factory.mktemp("instruments") / "run"
    letterrec.fit(log, folder, items=catalogue, recipe="popularity", progress=False)
    return folder


def test_categories_are_an_attribute(instruments: Path) -> None:
    engine = letterrec.load(instruments)
    assert Attributes(engine.dataset).names == ("categories", "year", "category")
    options: dict[str, Any] = {"exclude_seen": False, "k": 6}
    for where, expected in (
        ({"category": "Guitars"}, {"0", "2", "4"}),
        ({"category": "Music"}, {str(i) for i in range(6)}),
        ({"category": "Guitars", "year": 1999}, {"0"}),
        ({"year": "2001"}, {"2", "5"}),
    ):
        (answer,) = engine.recommend([["1"]], where=where, **options)
        assert {item for item, _ in answer} == expected


def test_columns_of_several_sources_are_found(tmp_path: Path) -> None:
    rows = [(u, i, u + i) for u in range(6) for i in range(6)]
    log = pl.DataFrame(rows, schema=["user", "item", "timestamp"], orient="row")
    catalogue = pl.DataFrame({"item": list(range(6)), "title": list("abcdef")})
    shops = {
        "books": catalogue.with_columns(genre=pl.Series(["crime", "poems"] * 3)),
        "games": catalogue.with_columns(genre=pl.lit("crime"), players=pl.Series([1, 2] * 3)),
    }
    sources = {name: letterrec.read(log, items=items) for name, items in shops.items()}
    letterrec.fit(sources, tmp_path / "run", recipe="popularity", progress=False)
    engine = letterrec.load(tmp_path / "run")
    (crime,) = engine.recommend([[]], k=12, where={"genre": "crime"})
    games = {f"games/{i}" for i in range(6)}
    assert {item for item, _ in crime} == games | {"books/0", "books/2", "books/4"}
    (answer,) = engine.recommend([[]], k=12, where={"genre": "crime", "players": 2})
    assert {item for item, _ in answer} == {"games/1", "games/3", "games/5"}


_FORKED = """
import os, signal, sys
from pathlib import Path
from letterrec.serving.opening import load_to_fork
engine = load_to_fork(Path(sys.argv[1]))
child = os.fork()
if not child:
    signal.alarm(60)  # a process that waits for threads it does not have ends, too
    print(engine.catalogue.where((("category", ("Guitars",)),)).sum(), flush=True)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can be forked here")
def test_a_process_that_was_forked_filters(instruments: Path) -> None:
    asked = [sys.executable, "-c", _FORKED, str(instruments)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_a_run_without_attributes_says_so(own_run: Path) -> None:
    (own_run / "data" / "attributes.parquet").unlink()  # as earlier versions left it
    with pytest.raises(RequestError, match="the run keeps none"):
        letterrec.load(own_run).recommend([HISTORY], where={"brand": "brand 1"})
