"""What an operator relies on: ids, versions, proxies, other sites, tokens, catalogue, models."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from letterrec.runs.run import Run
from letterrec.serving.http.tokens import Tokens

ADMIN, READ, SHOP = "may-change-anything", "may-only-look-at-it", "https://shop.example"


def another_run(run: Path, to: Path, started: str) -> Path:
    """A copy that is another run, begun at another time."""
    shutil.copytree(run, to)
    about = json.loads((to / "run.json").read_text("utf-8"))
    (to / "run.json").write_text(json.dumps(about | {"started": started}), "utf-8")
    return to


@pytest.fixture(scope="module")
def runs(shop_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs ``v1`` and ``v2``, of which ``live`` is a link to the first."""
    folder = tmp_path_factory.mktemp("operated")
    shutil.copytree(shop_run, folder / "v1")
    another_run(shop_run, folder / "v2", "2026-01-01T00:00:00+00:00")
    (folder / "live").symlink_to("v1")
    return folder


@pytest.fixture(scope="module")
def operated(serve: Callable[..., Any], runs: Path) -> Iterator[httpx.Client]:
    """A server with all that an operator may ask for, asked by one who may change things."""
    with (
        serve(
            runs / "live",
            others={"new": runs / "v2"},
            split={"default": 3, "new": 1},
            tokens=Tokens([ADMIN], [READ]),
            origins=[SHOP],
            root_path="/rec",
        ) as served,
        served.client(headers={"authorization": f"Bearer {ADMIN}"}) as client,
    ):
        yield client


def run_ids(runs: Path) -> dict[str, str]:
    return {"default": Run.open(runs / "v1").id, "new": Run.open(runs / "v2").id}


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The requests in the log."""
    return [r.__dict__["fields"] for r in caplog.records if r.message == "request"]


def test_a_request_keeps_its_id_and_the_log_has_it(
    operated: httpx.Client, runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="letterrec.serving"):
        given = operated.post(
            "/v1/recommend",
            json={"history": ["i05"], "model": "new"},
            headers={"x-request-id": "order-17"},
        )
        made = [operated.get("/v1/run").headers["x-request-id"] for _ in range(2)]
        unfit = operated.get("/healthz", headers={"x-request-id": "x" * 129})
        ends = time.monotonic() + 30  # an answer goes out before its line is written
        while not (lines := [line for line in logged(caplog) if line["request_id"] == "order-17"]):
            assert time.monotonic() < ends
            time.sleep(0.01)
    assert given.headers["x-request-id"] == "order-17"
    assert len({*made, unfit.headers["x-request-id"], "x" * 129}) == 4
    (line,) = lines
    assert (line["model"], line["run"]) == ("new", run_ids(runs)["new"])
    assert line["generation"] == given.json()["generation"]
    assert line["ms"] > 0
    assert "i05" not in json.dumps(line)


def test_answers_and_metrics_say_what_answered(operated: httpx.Client, runs: Path) -> None:
    ids = run_ids(runs)
    for name, run in ids.items():
        question = {"history": ["i05"], "model": name, "k": 3}
        alone = operated.post("/v1/recommend", json=question)
        batch = operated.post("/v1/recommend/batch", json={"requests": [question]})
        for answer in (alone.json(), batch.json()["answers"][0]):
            assert (answer["model"], answer["run"]) == (name, run)
            assert type(answer["generation"]) is int
        for response in (alone, batch):
            assert response.headers["x-run"] == run
        look = operated.get("/v1/run", params={"model": name})
        assert (look.json()["run"], look.headers["x-model"]) == (run, name)
    assert "x-run" not in operated.get("/v1/nothing").headers  # nobody was asked
    metrics = operated.get("/metrics").text
    assert f'letterrec_run_info{{model="new",run="{ids["new"]}"}} 0.25' in metrics
    assert 'letterrec_catalogue_generation{model="new"}' in metrics
    assert operated.post("/v1/recommend", json={"history": [], "model": "x"}).status_code == 404


def test_the_address_names_the_model_too(operated: httpx.Client) -> None:
    question = {"history": ["i05"], "k": 3}
    batch = {"requests": [question, question | {"model": "new"}, question | {"model": "default"}]}
    for model in ("new", "default"):
        asked = {"params": {"model": model}}
        assert operated.post("/v1/recommend", json=question, **asked).json()["model"] == model
        answers = operated.post("/v1/recommend/batch", json=batch, **asked).json()["answers"]
        assert [a.get("model") for a in answers].count(model) == 2
        assert [a["error"]["status"] for a in answers if "error" in a] == [422]
    other = operated.post("/v1/recommend?model=new", json=question | {"model": "default"})
    assert other.status_code == 422
    assert operated.post("/v1/recommend?model=nix", json=question).status_code == 404


def test_a_refusal_names_the_model_that_was_asked(operated: httpx.Client, runs: Path) -> None:
    ids = run_ids(runs)
    refused = operated.post("/v1/recommend", json={"history": [], "model": "new", "k": 0})
    assert (refused.status_code, refused.headers["x-model"]) == (422, "new")
    assert refused.headers["x-run"] == ids["new"]
    unserved = operated.post("/v1/recommend", json={"history": [], "model": "nix"})
    assert unserved.status_code == 404
    assert not {"x-model", "x-run", "x-generation"} & set(unserved.headers)
    questions = [{"history": [], "model": model} for model in ("new", "default", "nix")]
    mixed = operated.post("/v1/recommend/batch", json={"requests": questions})
    assert mixed.headers["x-model"] == "mixed"
    assert not {"x-run", "x-generation"} & set(mixed.headers)
    assert [mixed.json()[name] for name in ("model", "run", "generation")] == [None] * 3
    one = operated.post("/v1/recommend/batch", json={"requests": questions[::2]})
    assert one.headers["x-model"] == one.json()["model"] == "new"
    found = operated.get("/v1/search", params={"q": "lipstick", "model": "new"}).json()
    assert (found["model"], found["run"]) == ("new", ids["new"])
    assert type(found["generation"]) is int


def test_a_person_may_have_a_number(operated: httpx.Client) -> None:
    def chosen(key: int | str) -> set[str]:
        question = {"history": [], "k": 1, "split_key": key}
        body = {"requests": [question] * 20}
        answers = operated.post("/v1/recommend/batch", json=body).json()["answers"]
        return {answer["model"] for answer in answers}

    for key in range(5):
        assert chosen(key) == chosen(str(key))
        assert len(chosen(key)) == 1


def test_every_answer_varies_with_the_origin_where_some_are_named(operated: httpx.Client) -> None:
    for headers in ({}, {"origin": "https://elsewhere.example"}, {"origin": SHOP}):
        assert "origin" in operated.get("/v1/run", headers=headers).headers["vary"].lower()


def test_models_are_split_by_weight_and_stay_with_a_person(operated: httpx.Client) -> None:
    questions = [{"history": ["i05"], "k": 1, "split_key": f"person {i}"} for i in range(100)]
    questions += [{"user": f"u{i}", "k": 1} for i in range(100)]

    def chosen() -> list[str]:
        found = []
        for start in (0, 100):
            body = {"requests": questions[start : start + 100]}
            answers = operated.post("/v1/recommend/batch", json=body).json()["answers"]
            found += [answer["model"] for answer in answers]
        return found

    first = chosen()
    assert first == chosen()
    assert 25 <= Counter(first)["new"] <= 80  # of 200 at a quarter: 50, s.d. 6


def test_under_a_root_path_page_and_interface_answer(operated: httpx.Client) -> None:
    page = operated.get("/rec/")
    assert page.status_code == 200
    assert 'src="/' not in page.text
    assert 'href="/' not in page.text
    assert operated.get("/rec/static/main.js").status_code == 200
    assert operated.get("/rec/v1/run").json() == operated.get("/v1/run").json()
    moved = operated.get("/rec")
    assert (moved.status_code, moved.headers["location"]) == (308, "/rec/")
    assert operated.get("/recommend").status_code == 404
    assert operated.get("/openapi.json").json()["servers"] == [{"url": "/rec"}]


def test_pages_of_named_sites_may_ask(operated: httpx.Client) -> None:
    asks = {"origin": SHOP, "access-control-request-method": "POST"}
    with httpx.Client(base_url=operated.base_url) as browser:  # asks without the token
        allowed = browser.options("/v1/recommend", headers=asks)
        assert allowed.status_code == 204
        assert allowed.headers["access-control-allow-origin"] == SHOP
        assert "authorization" in allowed.headers["access-control-allow-headers"]
        other = browser.options("/v1/recommend", headers={**asks, "origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers
        assert other.status_code == 401
        refused = browser.post("/v1/recommend", json={"history": []}, headers={"origin": SHOP})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == SHOP  # so that the page sees why
    answer = operated.post("/v1/recommend", json={"history": ["i05"]}, headers={"origin": SHOP})
    assert answer.status_code == 200
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    elsewhere = {"origin": "https://b.example"}
    answer = operated.post("/v1/recommend", json={"history": ["i05"]}, headers=elsewhere)
    assert answer.status_code == 403


@pytest.mark.parametrize(("accepts", "zipped"), [("gzip", True), ("gzip;q=0", False), ("", False)])
def test_long_answers_are_zipped_for_those_who_take_it(
    operated: httpx.Client, accepts: str, zipped: bool
) -> None:
    body = {"history": ["i05"], "k": 50, "model": "new"}
    answer = operated.post("/v1/recommend", json=body, headers={"accept-encoding": accepts})
    assert ("content-encoding" in answer.headers) is zipped
    assert len(answer.json()["items"]) == 50
    short = operated.get("/healthz", headers={"accept-encoding": accepts})
    assert "content-encoding" not in short.headers


def test_a_token_for_reading_changes_nothing(operated: httpx.Client) -> None:
    with httpx.Client(
        base_url=operated.base_url, headers={"authorization": f"Bearer {READ}"}
    ) as reader:
        assert reader.post("/v1/recommend", json={"history": ["i05"]}).status_code == 200
        assert reader.get("/v1/items").status_code == 200
        refused = [
            reader.put("/v1/items/x", json={"title": "x"}),
            reader.patch("/v1/items/i01", json={"state": "blocked"}),
            reader.delete("/v1/items/i01"),
            reader.post("/v1/items", json={"items": [{"item": "x", "title": "x"}]}),
            reader.post("/v1/bulk", content="item\n", headers={"content-type": "text/csv"}),
            reader.post("/v1/reload"),
            reader.post("/v1/rollback"),
        ]
        assert [answer.status_code for answer in refused] == [403] * 7
        assert "may read and recommend alone" in refused[0].json()["detail"]
        reader.headers["authorization"] = "Bearer neither-of-the-two"
        assert reader.get("/v1/run").status_code == 401


def test_a_lost_answer_can_be_asked_for_again(operated: httpx.Client) -> None:
    key = {"idempotency-key": "first try"}
    at = {"model": "default"}
    body = {"items": [{"item": "n1", "title": "red lipstick no. 61"}]}
    first = operated.post("/v1/items", params=at, json=body, headers=key)
    operated.patch("/v1/items/i02", params=at, json={"state": "blocked"}).raise_for_status()
    again = operated.post("/v1/items", params=at, json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    without = operated.post("/v1/items", params=at, json=body)
    assert without.status_code == 409
    other = operated.post(
        "/v1/items",
        params=at,
        json={"items": []} | body | {"items": [{"item": "n2", "title": "red lipstick no. 62"}]},
        headers=key,
    )
    assert other.status_code == 409
    assert "Idempotency-Key" in other.json()["detail"]
    key = {"idempotency-key": "a deletion"}
    gone = [operated.delete("/v1/items/n1", params=at, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in gone] == [200, 200]
    assert operated.delete("/v1/items/n1", params=at).status_code == 404


def test_titles_and_texts_can_be_edited(operated: httpx.Client) -> None:
    at = {"model": "new"}
    before = operated.get("/v1/items/i12", params=at).json()
    titled = operated.patch("/v1/items/i12", params=at, json={"title": "Crimson balm"}).json()
    assert titled["title"] == "Crimson balm"
    assert titled["identifier"] == before["identifier"]
    after = operated.get("/v1/items/i12", params=at).json()
    assert after["text"] == "Crimson balm. brand 0"
    found = operated.get("/v1/search", params={"q": "crimson", **at}).json()["items"]
    assert [item["item"] for item in found] == ["i12"]
    body = {"title": "red lipstick no. 12", "text": "brand 0"}
    back = operated.put("/v1/items/i12", params=at, json=body)
    assert back.status_code == 200
    assert operated.get("/v1/items/i12", params=at).json()["text"] == before["text"]
    for wrong in ({"title": "", "text": ""}, {}, {"title": None}):
        assert operated.patch("/v1/items/i12", params=at, json=wrong).status_code == 422
    made = operated.put("/v1/items/p1", params=at, json={"title": "green tea no. 70"})
    assert made.status_code == 201
    assert operated.get("/v1/items/p1", params=at).json()["added"]
    both = [{"item": "p1", "title": "green tea no. 71"}, {"item": "p2", "title": "chess set"}]
    body = {"items": both, "upsert": True}
    operated.post("/v1/items", params=at, json=body).raise_for_status()
    assert operated.get("/v1/items/p1", params=at).json()["title"] == "green tea no. 71"
    missing = operated.patch("/v1/items/nope", params=at, json={"title": "x"})
    assert missing.status_code == 404
    unnamed = operated.patch("/v1/items/i12", json={"title": "x"})
    assert unnamed.status_code == 422
    assert "?model=NAME" in unnamed.json()["detail"]


def test_the_catalogue_is_listed_in_pages(operated: httpx.Client) -> None:
    def pages(**options: Any) -> list[str]:
        found: list[str] = []
        after: str | None = None
        while True:
            at = {"model": "new", "limit": 7, **options} | ({"after": after} if after else {})
            page = operated.get("/v1/items", params=at).raise_for_status().json()
            assert len(page["items"]) <= 7
            found += [item["item"] for item in page["items"]]
            after = page["next"]
            if after is None:
                return found

    operated.patch("/v1/items/i40", params={"model": "new"}, json={"state": "blocked"})
    everything = pages()
    assert everything == sorted(everything)
    assert {f"i{n:02d}" for n in range(60)} <= set(everything)
    assert pages(state="blocked") == ["i40"]
    assert not set(pages(added=True)) & {f"i{n:02d}" for n in range(60)}


@pytest.mark.parametrize("kind", ["text/csv", "application/x-ndjson"])
def test_a_table_is_taken_as_a_whole(operated: httpx.Client, kind: str) -> None:
    name = kind[-3:]
    rows = [(f"{name}{i}", f"chess set no. {i}") for i in range(3)] + [("i07", f"hose {name}")]
    if kind == "text/csv":
        body = "item,title\n" + "".join(f"{item},{title}\n" for item, title in rows)
    else:
        body = "".join(json.dumps({"item": i, "title": t}) + "\n" for i, t in rows)
    at = {"params": {"model": "new"}, "headers": {"content-type": kind}}
    answer = operated.post("/v1/bulk", content=body, **at).raise_for_status().json()
    assert (answer["rows"], answer["added"], answer["changed"]) == (4, 3, 1)
    again = operated.post("/v1/bulk", content=body, **at).json()
    assert (again["added"], again["changed"]) == (0, 0)
    assert again["generation"] == answer["generation"]
    item = operated.get("/v1/items/i07", params={"model": "new"}).json()
    assert item["title"] == f"hose {name}"
    damaged = operated.post("/v1/bulk", content="no such column\n1\n", **at)
    assert damaged.status_code == 422
    assert "/tmp" not in damaged.json()["detail"]
    nobody = operated.post("/v1/bulk", json={"a": 1}, params={"model": "new"})
    assert nobody.status_code == 415


def test_a_rollback_under_load_drops_no_request(operated: httpx.Client, runs: Path) -> None:
    """A link is switched from one run to the next, reloaded, and rolled back."""
    at = {"model": "default"}
    ids = run_ids(runs)
    seen: list[tuple[int, str]] = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=operated.base_url, headers=operated.headers) as client:
            while not over.is_set():
                body = {"history": ["i05"], "k": 3, "model": "default"}
                answer = client.post("/v1/recommend", json=body)
                seen.append((answer.status_code, answer.json().get("run", "")))

    def answered_by(run: str) -> bool:
        """Wait until a question was answered by a run, which all are from then on."""
        before = len(seen)
        ends = time.monotonic() + 60
        while run not in [found for _, found in seen[before:]]:
            assert time.monotonic() < ends
            time.sleep(0.01)
        return True

    assert operated.post("/v1/rollback", params=at).status_code == 409
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        shutil.copytree(runs / "v2", runs / "v3", ignore=shutil.ignore_patterns("catalogue*"))
        (runs / "next").symlink_to("v3")
        os.replace(runs / "next", runs / "live")
        assert answered_by(ids["default"])
        assert operated.post("/v1/reload", params=at).json()["run"] == ids["new"]
        assert answered_by(ids["new"])
        to = {**at, "to": ids["default"]}
        for _ in range(2):  # a lost answer can be asked for again
            assert operated.post("/v1/rollback", params=to).json()["run"] == ids["default"]
            assert answered_by(ids["default"])
        models = operated.get("/v1/models").json()["models"]
        assert models[0]["before"] == ids["new"]
        # Edits go to the run that is served, wherever the link points.
        operated.patch("/v1/items/i33", params=at, json={"state": "blocked"}).raise_for_status()
        assert (runs / "v1" / "catalogue.parquet").exists()
        assert not (runs / "v3" / "catalogue.parquet").exists()
        assert operated.post("/v1/rollback", params=at).json()["run"] == ids["new"]
        assert operated.post("/v1/rollback", params={**at, "to": "x"}).status_code == 409
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in seen} == {200}
