"""Where single items are on the maps, over HTTP and as the page asks for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sklearn.manifold import TSNE

pytestmark = pytest.mark.slow


def by_item(map_: dict[str, Any]) -> dict[str, tuple[float, float]]:
    places = zip(map_["x"], map_["y"], strict=True)
    return dict(zip(map_["item"], places, strict=True))


def plane(client: httpx.Client) -> dict[str, Any]:
    """The map by t-SNE, asked for until it is there."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        answer = client.get("/v1/map", params={"method": "tsne"})
        if answer.status_code == 200:
            return dict(answer.json())
        assert answer.status_code == 202
        assert answer.headers["retry-after"] == "1"
        time.sleep(0.2)
    raise AssertionError("the map never came")


def test_items_stand_where_the_map_has_them(client: httpx.Client) -> None:
    asked = {"item": ["i07", "nothing", "i03"]}
    flat = by_item(client.get("/v1/map").json())
    found = client.get("/v1/map/items", params=asked).json()["items"]
    assert [place["item"] for place in found] == ["i07", "i03"]
    for place in found:
        assert (place["x"], place["y"]) == pytest.approx(flat[place["item"]], abs=1e-4)
    map_ = plane(client)
    assert map_["z"] == map_["explained"] == []
    found = client.get("/v1/map/items", params=asked | {"method": "tsne"}).json()["items"]
    size = max(map_["x"]) - min(map_["x"])
    for place in found:
        assert (place["x"], place["y"]) == pytest.approx(
            by_item(map_)[place["item"]], abs=0.02 * size
        )


def test_a_map_that_takes_long_holds_up_no_other(
    serve: Callable[..., Any], own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()
    placed = TSNE.fit_transform

    def waiting(self: TSNE, values: Any) -> Any:
        begun.set()
        assert may_end.wait(60)
        return placed(self, values)

    monkeypatch.setattr(TSNE, "fit_transform", waiting)
    with serve(own_run, deadline=10.0) as served, served.client() as client:
        try:
            assert client.get("/v1/map", params={"method": "tsne"}).status_code == 202
            assert begun.wait(60)
            for _ in range(3):  # more than there are threads for maps
                assert client.get("/v1/map/items", params={"item": "i07"}).status_code == 200
            assert client.get("/v1/search", params={"q": "red"}).status_code == 200
        finally:
            may_end.set()
        assert len(plane(client)["x"]) == 60


def test_points_are_told_apart_by_their_first_code(client: httpx.Client) -> None:
    map_ = client.get("/v1/map").json()
    (kinds,) = map_["colours"]
    assert kinds["title"] == "first code"
    for place, code in zip(kinds["of_each"], map_["code"], strict=True):
        named = kinds["names"][place]
        assert named.startswith(f"a {code}: ") or named == "others"


def test_an_added_item_stands_by_what_it_is_like(serve: Callable[..., Any], own_run: Path) -> None:
    with serve(own_run) as served, served.client() as client:
        title = client.get("/v1/items/i07").json()["title"]
        text = client.get("/v1/items/i07").json()["text"].removeprefix(f"{title}. ")
        new = {"item": "twin", "title": title, "text": text}
        assert client.post("/v1/items", json={"items": [new]}).status_code == 201
        params = {"item": ["i07"], "added": 10}
        old, added = client.get("/v1/map/items", params=params).json()["items"]
        assert (old["added"], added["added"], added["item"]) == (False, True, "twin")
        assert (added["x"], added["y"]) == pytest.approx((old["x"], old["y"]), abs=1e-3)


def test_metrics_and_report_are_answered(serve: Callable[..., Any], own_run: Path) -> None:
    with serve(own_run) as served, served.client() as client:
        found = client.get("/v1/evaluation").json()
        assert [split["split"] for split in found["splits"]] == ["test", "valid"]
        assert found["splits"][0]["users"] == 150
        assert not found["has_report"]
        missing = client.get("/v1/report")
        assert missing.status_code == 404
        assert "letterrec report" in missing.json()["detail"]
        (own_run / "report.html").write_text("<!doctype html>here", "utf-8")
        assert client.get("/v1/evaluation").json()["has_report"]
        assert client.get("/v1/report").text == "<!doctype html>here"
