"""What the HTTP interface answers."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import letterrec
from ranking import assert_same_ranking


def ranking(answer: dict[str, Any]) -> list[tuple[str, float]]:
    return [(item["item"], item["log_probability"]) for item in answer["items"]]


def test_recommendations_are_those_of_the_python_call(client: httpx.Client, shop_run: Path) -> None:
    body = {"history": ["i05", "i06"], "k": 4}
    answer = client.post("/v1/recommend", json=body).raise_for_status().json()
    engine = letterrec.load(shop_run)
    (expected,) = engine.recommend([["i05", "i06"]], k=4)
    assert_same_ranking(ranking(answer), expected)
    for item in answer["items"]:
        assert item["title"] == engine.titles[item["item"]]
        assert item["identifier"].startswith("<a_")


def test_a_user_of_the_run_stands_for_the_history(client: httpx.Client, shop_run: Path) -> None:
    history = letterrec.load(shop_run).history_of("u3")
    by_user = client.post("/v1/recommend", json={"user": "u3"}).json()
    by_history = client.post("/v1/recommend", json={"history": history}).json()
    assert_same_ranking(ranking(by_user), ranking(by_history))


def test_filters_act_on_the_list(client: httpx.Client) -> None:
    def items(**body: Any) -> list[str]:
        answer = client.post("/v1/recommend", json={"history": ["i05"], **body}).json()
        return [i["item"] for i in answer["items"]]

    best = items(k=3)
    assert best[0] not in items(k=3, blocked=best[:1])
    assert set(items(allowed=["i05", "i20", "i30"])) == {"i20", "i30"}
    assert set(items(allowed=["i05", "i20"], exclude_seen=False)) == {"i05", "i20"}
    assert set(items(allowed=["i20", "i30"], blocked=["i30"])) == {"i20"}
    assert items(allowed=[]) == []


def test_a_batch_answers_each_as_if_alone(client: httpx.Client) -> None:
    requests = [
        {"history": ["i05"], "k": 2},
        {"user": "u1", "k": 7, "blocked": ["i10"]},
        {"history": []},
        {"history": ["i01"], "allowed": ["i02", "i03"]},
    ]
    batch = client.post("/v1/recommend/batch", json={"requests": requests}).json()["answers"]
    for request, answer in zip(requests, batch, strict=True):
        alone = client.post("/v1/recommend", json=request).json()
        assert_same_ranking(ranking(answer), ranking(alone))


def test_explained_items_name_the_codes_they_share(client: httpx.Client) -> None:
    body = {"history": ["i00", "i06"], "k": 20, "explain": True}
    answer = client.post("/v1/recommend", json=body).json()
    assert [i["item"] for i in answer["history"]] == ["i00", "i06"]
    codes = {i["item"]: i["identifier"].strip("<>").split("><") for i in answer["history"]}
    explained = [item for item in answer["items"] if item["because"]]
    assert explained
    for item in explained:
        own = item["identifier"].strip("<>").split("><")
        for why in item["because"]:
            assert why["shared"] == [a == b for a, b in zip(own, codes[why["item"]], strict=True)]
            assert any(why["shared"]) or why["share"] > 0


def test_the_parts_of_an_explanation_add_up(client: httpx.Client) -> None:
    body = {"history": ["i00", "i06", "i12"], "k": 20, "explain": True}
    items = client.post("/v1/recommend", json=body).json()["items"]
    for item in items:
        shares = [why["share"] for why in item["because"]]
        assert item["recommender"] + sum(shares) == pytest.approx(1, abs=1e-5)
        assert shares == sorted(shares, reverse=True)
    popular = client.post("/v1/recommend", json={"history": [], "explain": True}).json()["items"]
    assert {item["recommender"] for item in popular} == {None}


def test_an_item_has_text_identifier_and_neighbours(client: httpx.Client) -> None:
    item = client.get("/v1/items/i12").raise_for_status().json()
    assert item["title"] == "red lipstick no. 12"
    assert item["text"] == "red lipstick no. 12. brand 0"
    assert item["identifier"] == "".join(
        f"<{letter}_{code}>" for letter, code in zip("abcd", item["codes"], strict=True)
    )
    leading = [n["leading"] for n in item["neighbours"]]
    assert leading == sorted(leading, reverse=True)
    assert "i12" not in [n["item"] for n in item["neighbours"]]


@pytest.mark.parametrize("words", ["LIPSTICK red", "lip", "  red   lipstick "])
def test_search_finds_titles_by_their_words(client: httpx.Client, words: str) -> None:
    found = client.get("/v1/search", params={"q": words, "limit": 50}).json()["items"]
    assert {i["item"] for i in found} == {f"i{n:02d}" for n in range(0, 60, 6)}
    counts = [i["interactions"] for i in found]
    assert counts == sorted(counts, reverse=True)


def test_search_without_a_hit_is_empty(client: httpx.Client) -> None:
    assert client.get("/v1/search", params={"q": "submarine"}).json()["items"] == []


def test_the_run_and_its_codes_are_told(client: httpx.Client) -> None:
    run = client.get("/v1/run").json()
    assert (run["items"], run["users"], run["recommender"]) == (60, 150, "rqt")
    assert [level["size"] for level in run["levels"]] == [16] * 4
    assert all(sum(level["counts"]) == 60 for level in run["levels"])
    assert run["metrics"]["recall@10"] > 0.3


def test_the_tree_of_codes_leads_to_every_item(client: httpx.Client) -> None:
    found: list[str] = []

    def walk(prefix: list[int]) -> int:
        node = client.get("/v1/tree", params={"prefix": ",".join(map(str, prefix))}).json()
        for child in node["children"]:
            below = [*prefix, child["code"]]
            if len(below) == 4:
                found.extend(child["item_ids"])
            else:
                assert walk(below) == child["items"]
        return int(node["items"])

    assert walk([]) == 60
    assert sorted(found) == [f"i{n:02d}" for n in range(60)]


@pytest.mark.parametrize(("of", "n"), [("items", 60), ("codes", 16)])
def test_maps_have_a_point_each(client: httpx.Client, of: str, n: int) -> None:
    drawn = client.get("/v1/map", params={"of": of, "level": 2}).json()
    assert all(len(drawn[axis]) == n for axis in ("x", "y", "z", "label", "code", "size"))
    assert 0 < sum(drawn["explained"]) <= 1 + 1e-6


def test_health_metrics_and_description(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    client.post("/v1/recommend", json={"history": ["i01"]})
    text = client.get("/metrics").text
    assert 'letterrec_requests_total{method="POST",route="/v1/recommend",status="200"}' in text
    assert 'letterrec_items{state="active"} 60.0' in text
    assert "letterrec_batch_size_bucket" in text
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/recommend", "/v1/items", "/v1/search", "/healthz"} <= set(paths)


def test_logs_tell_of_requests_without_personal_data(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="letterrec.serving"):
        client.post("/v1/recommend", json={"user": "u17", "history": None})
        client.get("/v1/search", params={"q": "lipstick"})
        client.get("/v1/items/i33")
        ends = time.monotonic() + 30  # an answer goes out before its line is written
        while len([r for r in caplog.records if r.name == "letterrec.serving"]) < 3:
            assert time.monotonic() < ends
            time.sleep(0.01)
    lines = [r.__dict__["fields"] for r in caplog.records if r.name == "letterrec.serving"]
    assert {line["route"] for line in lines} == {
        "/v1/recommend",
        "/v1/search",
        "/v1/items/{item:path}",
    }
    text = json.dumps(lines)
    assert not any(secret in text for secret in ("u17", "lipstick", "i33", "127.0.0.1"))


def test_a_token_is_asked_for_and_compared(serve: Callable[..., Any], own_run: Path) -> None:
    token = "correct-horse-battery"
    with serve(own_run, token=token) as served, served.client() as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/").status_code == 200
        for headers in ({}, {"authorization": token}, {"authorization": f"Bearer {token}x"}):
            answer = client.get("/v1/run", headers=headers)
            assert answer.status_code == 401
            assert "Authorization: Bearer TOKEN" in answer.json()["detail"]
            assert client.get("/metrics", headers=headers).status_code == 401
        client.headers["authorization"] = f"Bearer {token}"
        assert client.get("/v1/run").status_code == 200


def test_an_open_server_does_not_let_the_network_change_it(
    serve: Callable[..., Any], own_run: Path
) -> None:
    with serve(own_run, may_change=False) as served, served.client() as client:
        answers = [
            client.post("/v1/items", json={"items": [{"item": "x", "title": "x"}]}),
            client.patch("/v1/items/i01", json={"state": "blocked"}),
            client.delete("/v1/items/i01"),
            client.post("/v1/reload"),
        ]
        assert [a.status_code for a in answers] == [403] * 4
        assert "needs a token" in answers[0].json()["detail"]
        assert client.post("/v1/recommend", json={"history": ["i01"]}).status_code == 200


def test_another_sites_page_may_not_change_anything(client: httpx.Client) -> None:
    answer = client.post("/v1/reload", headers={"origin": "https://elsewhere.example"})
    assert answer.status_code == 403
    own = {"origin": str(client.base_url).rstrip("/")}
    answer = client.post("/v1/recommend", json={"history": ["i01"]}, headers=own)
    assert answer.status_code == 200


def test_scores_are_logarithms_of_probabilities(client: httpx.Client) -> None:
    body = {"history": ["i05"], "k": 60, "exclude_seen": False}
    items = client.post("/v1/recommend", json=body).json()["items"]
    assert len(items) == 60
    assert sum(math.exp(i["log_probability"]) for i in items) < 1 + 1e-4


def test_a_defect_is_answered_with_500_and_the_server_goes_on(
    serve: Callable[..., Any], own_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(own_run) as served, served.client() as client:
        del served.service.engine.folder
        answer = client.get("/v1/run")
        assert answer.status_code == 500
        assert answer.json() == {"detail": "the server failed; its log says why"}
        assert "AttributeError" in caplog.text
        assert client.post("/v1/recommend", json={"history": ["i01"]}).status_code == 200
