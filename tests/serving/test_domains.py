"""A run of two sources with shared users: what each domain recommends, and how it is told apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import letterrec
from command import letterrec as command
from domains import ITEMS, TASTES, USERS, WORDS
from letterrec.data.readers.table_files import TableFile
from letterrec.data.text import item_text
from letterrec.errors import DataError, NotFound, RequestError
from letterrec.serving.editing.editor import Editor
from letterrec.serving.editing.edits import AddItems
from letterrec.serving.editing.placing import placed_table
from letterrec.serving.engine import Engine
from letterrec.serving.queries import Query


@pytest.fixture(scope="session")
def engine(two_domains: Path) -> Engine:
    return letterrec.load(two_domains)


@pytest.fixture
def own(two_domains: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two_domains, tmp_path / "run"))


pytestmark = pytest.mark.slow


def taste(item: str) -> int:
    return int(item.partition("/")[2]) % TASTES


def test_who_has_history_in_one_domain_gets_the_others_items(engine: Engine) -> None:
    histories = [[f"books/{i}" for i in range(t, 16, TASTES)] for t in range(TASTES)]
    answers = engine.recommend(histories, k=5, domain="games")
    assert all(item.startswith("games/") for answer in answers for item, _ in answer)
    own = [taste(item) == t for t, answer in enumerate(answers) for item, _ in answer]
    assert np.mean(own) > 0.7  # by chance 0.25


def test_a_domain_is_what_a_list_of_all_its_items_is(engine: Engine) -> None:
    histories = [["books/1", "games/5"], ["games/2"], ["books/3", "books/7", "games/11"]]
    games = [i for i in engine.catalogue.item_ids if i.startswith("games/")]
    by_name = engine.recommend(histories, k=24, domain="games")
    by_list = engine.recommend(histories, k=24, allowed=games)
    for named, listed in zip(by_name, by_list, strict=True):
        assert [i for i, _ in named] == [i for i, _ in listed]
        np.testing.assert_allclose([s for _, s in named], [s for _, s in listed], rtol=1e-4)
    assert [len(answer) for answer in by_name] == [23, 23, 23]  # all but what is seen


def test_allowed_and_domain_act_together(engine: Engine) -> None:
    allowed = ["games/1", "games/2", "books/1"]
    (answer,) = engine.recommend([["books/5"]], allowed=allowed, domain="games")
    assert sorted(item for item, _ in answer) == ["games/1", "games/2"]
    (answer,) = engine.recommend([[]], k=3, domain="books")  # no history: what is popular there
    assert len(answer) == 3
    assert all(item.startswith("books/") for item, _ in answer)


def test_queries_of_several_domains_are_answered_as_alone(engine: Engine) -> None:
    asked = [
        Query(["books/1", "games/1"], 6, domain=domain, blocked=blocked)
        for domain in ("games", None, "books", "games")
        for blocked in ((), ("games/2", "books/2"))
    ]
    together = engine.answer_ids([engine.prepare(query) for query in asked])
    for query, answer in zip(asked, together, strict=True):
        (alone,) = engine.answer_ids([engine.prepare(query)])
        assert [i for i, _ in answer] == [i for i, _ in alone]
        assert all(query.domain is None or i.startswith(query.domain) for i, _ in answer)
    catalogue = engine.catalogue
    assert catalogue.domain("games") is catalogue.domain("games")  # counted once, then kept


def test_an_unknown_domain_is_refused_everywhere(
    engine: Engine, two_domains: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="'toys' is not among those of the run; expected one of"):
        engine.recommend([["books/1"]], domain="toys")
    with pytest.raises(NotFound, match="domain 'toys'"):
        letterrec.evaluate(two_domains, domain="toys")
    for arguments in (
        ("recommend", two_domains, "--user", "u1", "--domain", "toys"),
        ("recommend", two_domains, "--all-users", "--out", tmp_path / "a.csv", "--domain", "toys"),
        ("evaluate", two_domains, "--domain", "toys"),
    ):
        assert command(*arguments) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "domain 'toys' is not among those of the run; expected one of 'books'" in said
    assert not (tmp_path / "a.csv").exists()


def test_evaluation_by_domain(engine: Engine, two_domains: Path) -> None:
    result = letterrec.evaluate(two_domains, progress=False)
    parts = result["domains"]
    assert list(parts) == ["books", "games"]
    assert sum(part["users"] for part in parts.values()) == result["users"] == USERS
    total = sum(part["users"] * part["metrics"]["recall@10"] for part in parts.values())
    assert total / USERS == pytest.approx(result["metrics"]["recall@10"])
    kept = letterrec.runs.run.Run.open(two_domains).metrics()
    assert kept["test"]["domains"] == parts
    within = letterrec.evaluate(two_domains, domain="games", progress=False)
    assert within["domain"] == "games"
    assert within["users"] == parts["games"]["users"]
    assert within["metrics"]["recall@10"] >= parts["games"]["metrics"]["recall@10"]


def test_what_the_command_line_shows(
    two_domains: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = ("recommend", two_domains, "--user", "u1", "--domain", "games", "-k", "3", "--json")
    assert command(*line) == 0
    found = json.loads(capsys.readouterr().out)
    assert {i["item"].partition("/")[0] for i in found["history"] and found["items"]} == {"games"}
    assert command("inspect", two_domains, "--json") == 0
    uses = json.loads(capsys.readouterr().out)["domains"]
    assert {name: use["items"] for name, use in uses.items()} == {
        "books": ITEMS,
        "games": ITEMS,
    }
    assert command("inspect", two_domains) == 0
    assert "first code shared" in capsys.readouterr().out
    assert command("evaluate", two_domains) == 0
    assert "games, " in capsys.readouterr().out
    every = tmp_path / "every.parquet"
    line = ("recommend", two_domains, "--all-users", "--out", every, "-k", "2", "--domain", "books")
    assert command(*line) == 0
    assert pl.read_parquet(every)["item"].str.starts_with("books/").all()
    assert command("report", two_domains, "--out", tmp_path / "report.html") == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "<h2>Domains</h2>" in page


def test_a_new_domain_by_text_alone(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"item": list(range(16)), "title": [f"{WORDS[i % 4]} film no. {i}" for i in range(16)]}
    pl.DataFrame(rows).write_csv(tmp_path / "films.csv")
    assert command("add-items", own, tmp_path / "films.csv") == 2
    assert "is of no domain of the run; name its domain beside it" in capsys.readouterr().err
    assert command("add-items", own, tmp_path / "films.csv", "--domain", "a/b") == 2
    assert "without '/'" in capsys.readouterr().err
    assert command("add-items", own, tmp_path / "films.csv", "--domain", "films", "--json") == 0
    said = capsys.readouterr()
    assert list(json.loads(said.out)["items"])[:2] == ["films/0", "films/1"]
    assert "domain 'films' is new in this run" in said.err
    engine = letterrec.load(own)
    assert engine.catalogue.domain_names == ("books", "games", "films")
    histories = [
        [f"{name}/{i}" for i in range(t, 20, TASTES) for name in ("books", "games")]
        for t in range(TASTES)
    ]
    answers = engine.recommend(histories, k=4, domain="films")
    assert all(item.startswith("films/") for answer in answers for item, _ in answer)
    own_taste = [taste(item) == t for t, answer in enumerate(answers) for item, _ in answer]
    assert np.mean(own_taste) > 0.5  # by chance 0.25


def test_domains_of_new_items(own: Path, tmp_path: Path) -> None:
    engine = letterrec.load(own)
    table = pl.DataFrame(
        {"item": ["1", "1"], "title": ["a film", "a song"], "domain": ["films", "songs"]}
    )
    table.write_csv(tmp_path / "new.csv")
    assert command("add-items", own, tmp_path / "new.csv") == 0
    Editor(engine).make(AddItems({"games/90": item_text("one more game")}))
    Editor(engine).make(AddItems({"91": item_text("another game")}, domains={"91": "games"}))
    engine.refresh()
    catalogue = engine.catalogue
    added = {i: catalogue.domains[row] for i, row in catalogue.rows.items() if row >= 2 * ITEMS}
    assert added == {
        "films/1": "films",
        "songs/1": "songs",
        "games/90": "games",
        "games/91": "games",
    }
    table.with_columns(domain=pl.lit("a/b")).write_csv(tmp_path / "new.csv")
    with pytest.raises(DataError, match="row 1: domain 'a/b': expected one without '/'"):
        placed_table(tmp_path / "new.csv", engine)
    with pytest.raises(RequestError, match="item 'x/1' is of no domain of the run"):
        Editor(engine).make(AddItems({"x/1": item_text("thing")}))
    again = letterrec.load(own)  # as a new process reads it
    assert again.catalogue.domains == catalogue.domains


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_column_of_domains_is_no_word_of_an_item(
    two_domains: Path, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over HTTP, where the domain stands beside an item; and a number names one, too."""
    path = tmp_path / f"new.{suffix}"
    columns = {"item": ["1", "2"], "title": ["solaris", "stalker"], "domain": [2024, 2025]}
    table = pl.DataFrame(columns | {"genre": ["drama", "drama"]})
    if suffix == "jsonl":
        table.write_ndjson(path)
    else:
        (table.write_csv if suffix == "csv" else table.write_parquet)(path)
    read: list[object] = []
    rows = TableFile.rows
    monkeypatch.setattr(TableFile, "rows", lambda *of: (read.append(of), rows(*of))[1])
    items, domains = placed_table(path, letterrec.load(two_domains))
    assert domains == {"2024/1": "2024", "2025/2": "2025"}
    assert {item: words.text for item, words in items.items()} == {
        "2024/1": "solaris. drama",
        "2025/2": "stalker. drama",
    }
    assert set(items["2024/1"].attributes) == {"genre"}
    assert len(read) == 1
    table.with_columns(domain=pl.Series([True, False])).write_parquet(tmp_path / "odd.parquet")
    with pytest.raises(DataError, match="row 1: domain: "):
        placed_table(tmp_path / "odd.parquet", letterrec.load(two_domains))


def test_a_domain_beside_the_one_of_a_single_source(shop_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(shop_run, tmp_path / "run"))
    engine = letterrec.load(run)
    (whole,) = engine.recommend([["i01", "i02"]])
    name = engine.dataset.name
    assert engine.recommend([["i01", "i02"]], domain=name)[0] == whole
    Editor(engine).make(AddItems({"1": item_text("green tea house")}, domains={"1": "cafes"}))
    assert engine.catalogue.domain_names == (name, "cafes")
    (found,) = engine.recommend([["i01", "i02"]], domain="cafes")
    assert [item for item, _ in found] == ["cafes/1"]


def test_domains_over_http(own: Path, serve: Callable[..., Any]) -> None:
    with serve(own) as served, served.client() as client:
        asked = {"history": ["books/1", "books/5"], "domain": "games", "k": 4}
        answer = client.post("/v1/recommend", json=asked)
        assert {i["item"].partition("/")[0] for i in answer.json()["items"]} == {"games"}
        refused = client.post("/v1/recommend", json=asked | {"domain": "toys"})
        assert refused.status_code == 404
        assert "domain 'toys' is not among those of the run" in refused.json()["detail"]
        new = {"items": [{"item": "1", "title": "a film", "domain": "films"}]}
        assert client.post("/v1/items", json=new).json()["items"][0]["item"] == "films/1"
        assert client.post("/v1/items", json=new).status_code == 409
        homeless = {"items": [{"item": "2", "title": "a film"}]}
        assert client.post("/v1/items", json=homeless).status_code == 422
        table = "item,title,domain\n2,a film,films\n1,a song,songs\ngames/1,one game,games\n"
        csv = {"content-type": "text/csv"}
        counts = client.post("/v1/bulk", content=table, headers=csv).raise_for_status().json()
        assert (counts["added"], counts["changed"]) == (2, 1)
        assert client.get("/v1/items/songs/1").json()["domain"] == "songs"
        run = client.get("/v1/run").json()
        found = {domain["name"]: domain["items"] for domain in run["domains"]}
        assert found == {"books": ITEMS, "games": ITEMS, "films": 2, "songs": 1}
