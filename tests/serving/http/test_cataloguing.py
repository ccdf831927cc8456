"""Images of items that are added and edited over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

import letterrec

RED, BLUE = "https://shop.example/red.jpg", "/static/blue.png"


def test_images_come_with_new_items_and_are_edited(
    serve: Callable[..., Any], own_run: Path
) -> None:
    with serve(own_run) as served, served.client() as client:

        def image(item: str) -> str:
            return str(client.get(f"/v1/items/{item}").json()["image"])

        new = {"items": [{"item": "n1", "title": "red lipstick", "image": RED}]}
        (made,) = client.post("/v1/items", json=new).raise_for_status().json()["items"]
        assert made["image"] == image("n1") == RED
        client.patch("/v1/items/n1", json={"image": BLUE}).raise_for_status()
        client.patch("/v1/items/n1", json={"title": "blue lipstick"}).raise_for_status()
        assert image("n1") == BLUE
        client.put("/v1/items/n1", json={"title": "a lipstick"}).raise_for_status()
        assert image("n1") == BLUE  # it stays where none is given
        changed = client.put("/v1/items/i01", json={"title": "garden hose", "image": RED}).json()
        assert changed["image"] == image("i01") == RED
        table = f"item,title,image\ni02,jazz record,{RED}\nn2,green tea,{BLUE}\n"
        at = {"content-type": "text/csv"}
        counts = client.post("/v1/bulk", content=table, headers=at).raise_for_status().json()
        assert (counts["added"], counts["changed"]) == (1, 1)
        assert (image("i02"), image("n2")) == (RED, BLUE)
        assert client.patch("/v1/items/i02", json={"image": ""}).json()["image"] == ""
        refused = client.patch("/v1/items/n1", json={"image": "http://shop.example/red.jpg"})
        assert refused.status_code == 422
        assert "https://" in refused.json()["detail"]
        query = {"history": ["i00"], "allowed": ["n1"]}
        (found,) = client.post("/v1/recommend", json=query).json()["items"]
        assert found["image"] == BLUE
        shown = served.service.engine.catalogue.images
    assert letterrec.load(own_run).catalogue.images == shown  # as a new process reads it


def test_files_of_edits_without_images_load(own_run: Path, serve: Callable[..., Any]) -> None:
    """As versions before images wrote them."""
    with serve(own_run) as served, served.client() as client:
        new = {"items": [{"item": "n1", "title": "red lipstick"}]}
        client.post("/v1/items", json=new).raise_for_status()
        client.patch("/v1/items/i01", json={"title": "a hose"}).raise_for_status()
    path = own_run / "catalogue.parquet"
    about = pl.read_parquet_metadata(path)
    frame = pl.read_parquet(path)
    assert "image" not in frame.columns
    kept = {key: value for key, value in about.items() if key != "ARROW:schema"}
    frame.drop("shown_image").write_parquet(path, metadata=kept)
    catalogue = letterrec.load(own_run).catalogue
    assert not any(catalogue.images)
    assert catalogue.titles[1] == "a hose"


def test_what_a_put_does_not_give_stays(serve: Callable[..., Any], own_run: Path) -> None:
    with serve(own_run) as served, served.client() as client:

        def words(item: str) -> tuple[str, str]:
            found = client.get(f"/v1/items/{item}").raise_for_status().json()
            return found["title"], found["text"]

        def upsert(**item: str) -> dict[str, Any]:
            body = {"items": [item], "upsert": True}
            return dict(client.post("/v1/items", json=body).raise_for_status().json())

        new = {"title": "red lipstick", "text": "brand 1"}
        client.put("/v1/items/n1", json=new).raise_for_status()
        client.put("/v1/items/n1", json={"text": "brand 2"}).raise_for_status()
        assert words("n1") == ("red lipstick", "red lipstick. brand 2")
        client.put("/v1/items/n1", json={"title": "blue lipstick"}).raise_for_status()
        assert words("n1") == ("blue lipstick", "blue lipstick. brand 2")
        client.put("/v1/items/n1", json={"image": RED}).raise_for_status()
        assert words("n1") == ("blue lipstick", "blue lipstick. brand 2")
        upsert(item="n1", text="brand 3")
        assert words("n1") == ("blue lipstick", "blue lipstick. brand 3")
        table = "item,title,brand\nn1,,brand 4\ni12,a balm,\n"
        at = {"content-type": "text/csv"}
        client.post("/v1/bulk", content=table, headers=at).raise_for_status()
        assert words("n1") == ("blue lipstick", "blue lipstick. brand 4")
        assert words("i12") == ("a balm", "a balm. brand 0")
        client.put("/v1/items/n2", json={"text": "green tea"}).raise_for_status()  # no title
        client.put("/v1/items/n2", json={"text": "black tea"}).raise_for_status()
        assert words("n2") == ("n2", "black tea")
        for nothing in ({}, {"title": "", "text": ""}):
            refused = client.put("/v1/items/n1", json=nothing)
            assert refused.status_code == 422
            assert "nothing is given for item 'n1'" in refused.json()["detail"]
        assert client.put("/v1/items/n3", json={"image": RED}).status_code == 422


def test_an_upsert_says_what_it_did(serve: Callable[..., Any], own_run: Path) -> None:
    with serve(own_run) as served, served.client() as client:
        rows = [{"item": "n1", "title": "red lipstick"}, {"item": "i01", "title": "a hose"}]

        def upserted() -> tuple[int, int, int]:
            answer = client.post("/v1/items", json={"items": rows, "upsert": True})
            found = answer.raise_for_status().json()
            return answer.status_code, found["added"], found["changed"]

        assert upserted() == (201, 1, 1)
        assert upserted() == (200, 0, 0)
        rows[0]["title"] = "blue lipstick"
        assert upserted() == (200, 0, 1)


def test_control_characters_in_titles_are_refused(serve: Callable[..., Any], own_run: Path) -> None:
    with serve(own_run) as served, served.client() as client:
        for sign in ("\0", "\x1b", "\u202e", "\u2066"):
            title = {"title": f"red {sign}lipstick"}
            refused = [
                client.put("/v1/items/i01", json=title),
                client.put("/v1/items/n1", json=title),
                client.patch("/v1/items/i01", json=title),
                client.post("/v1/items", json={"items": [{"item": "n1", **title}]}),
            ]
            assert [answer.status_code for answer in refused] == [422] * 4
            for answer in refused:
                assert f"control character U+{ord(sign):04X}" in answer.json()["detail"]
        kept = "\u05e9\u05dc\u05d5\u05dd\u200f \U0001f469\u200d\U0001f680"  # an emoji of two
        assert client.patch("/v1/items/i01", json={"title": kept}).json()["title"] == kept


def test_tables_with_doubtful_rows_are_refused(serve: Callable[..., Any], own_run: Path) -> None:
    with serve(own_run) as served, served.client() as client:
        for table, words in (
            ("item,title\n77001,a\n7,b\n77001.0,c\n", "rows 1 and 3 are both of item '77001'"),
            ("item,title\nn1,a\n,b\n", "row 2 has no item id"),
            (f"item,title,image\nn1,a,{RED}\nn2,b,javascript:x\n", "row 2: image 'javascript:x'"),
            ("item,title,image\nn1,a,ftp://a/b.png\n", "begins with https://"),
            ("item,name of it\nn1,a\n", "add a column 'title'"),
        ):
            at = {"content-type": "text/csv"}
            refused = client.post("/v1/bulk", content=table, headers=at)
            assert refused.status_code == 422
            assert words in refused.json()["detail"]
            assert "--columns" not in refused.json()["detail"]
        table = f"item,title,image\nn1,a hose,{RED}\nn2,a tea,\n"
        made = client.post("/v1/bulk", content=table, headers=at).raise_for_status().json()
        assert made["added"] == 2
