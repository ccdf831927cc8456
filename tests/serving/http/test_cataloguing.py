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
