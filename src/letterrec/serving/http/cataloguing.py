"""The routes of the catalogue: search, list, look at, add, change and delete items."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import FastAPI, Header, Path, Query, Request, Response

from letterrec.data.lookup import one_id
from letterrec.data.text import ItemText, item_text
from letterrec.errors import DataError, RequestError
from letterrec.files import fingerprint
from letterrec.serving.catalogue.states import STATES, State
from letterrec.serving.editing.edits import AddItems, ChangeItem, Edit, Key, PutItems
from letterrec.serving.editing.placing import placed, placed_table
from letterrec.serving.engine import Engine
from letterrec.serving.fleet import Fleet, Version
from letterrec.serving.http import schemas as s
from letterrec.serving.http import views
from letterrec.serving.http.admission import BULK, TABLE_TYPES, table_suffix
from letterrec.serving.http.drawings import Drawings
from letterrec.serving.http.exploring import ModelName
from letterrec.serving.http.middleware import answering, ends_of, served_by
from letterrec.serving.http.problems import problems
from letterrec.serving.service import Made

_NEIGHBOURS = 8
ItemId = Annotated[str, Path(min_length=1, max_length=256, description="the item's id")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="any text of the client's; a request that is repeated with it is made once",
    ),
]
_FILE = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}} for kind in TABLE_TYPES
        },
    }
}


def add_catalogue(app: FastAPI, fleet: Fleet, drawings: Drawings) -> None:
    """Add the routes to the application."""
    _add_looking(app, fleet, drawings)
    edits = _Edits(fleet)
    _add_adding(app, edits)
    _add_changing(app, edits)
    _add_bulk(app, edits)


def _add_looking(app: FastAPI, fleet: Fleet, drawings: Drawings) -> None:
    @app.get("/v1/search", responses=problems(404), tags=["catalogue"])
    async def search_items(
        http: Request,
        q: Annotated[str, Query(min_length=1, max_length=200, description="words of a title")],
        limit: Annotated[int, Query(ge=1, le=50)] = 10,
        model: ModelName = None,
    ) -> s.SearchResponse:
        """Items whose titles hold all words, case and accents aside."""
        _, catalogue, version = answering(http, fleet.named(model))
        rows = await drawings.run(lambda: catalogue.directory.search(q, limit))
        return s.SearchResponse(
            **version._asdict(),
            items=[
                s.Found(
                    **views.name(catalogue, row),
                    state=STATES[catalogue.states[row]],
                    interactions=int(catalogue.popularity[row]),
                )
                for row in rows
            ],
        )

    @app.get("/v1/items", responses=problems(404), tags=["catalogue"])
    async def list_items(
        http: Request,
        after: Annotated[
            str | None, Query(max_length=256, description="`next` of the page before")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=1_000, description="items a page")] = 100,
        state: Annotated[State | None, Query(description="without it, all")] = None,
        added: Annotated[bool, Query(description="only those that came after training")] = False,
        model: ModelName = None,
    ) -> s.ItemList:
        """A page of the catalogue, in the order of the ids."""
        engine, catalogue, version = answering(http, fleet.named(model))
        states: Sequence[State] = STATES if state is None else [state]

        def draw() -> s.ItemList:
            rows = catalogue.directory.listed(after, limit + 1, states, added)
            more = len(rows) > limit
            items = [views.listed(engine, catalogue, row) for row in rows[:limit]]
            return s.ItemList(
                **version._asdict(), items=items, next=items[-1].item if more else None
            )

        return await drawings.run(draw)

    @app.get("/v1/items/{item:path}", responses=problems(404), tags=["catalogue"])
    async def get_item(http: Request, item: ItemId, model: ModelName = None) -> s.Item:
        """An item: text, identifier, neighbours in code space."""
        engine, catalogue, version = answering(http, fleet.named(model))
        known = one_id(item, "item", catalogue.rows)
        return await drawings.run(
            lambda: views.item(version, engine, catalogue, known, _NEIGHBOURS)
        )


@dataclass(frozen=True)
class _Edits:
    """Edits that requests ask for, made by the service of the model that each names."""

    fleet: Fleet

    async def made(self, http: Request, model: str | None, edit: Edit) -> tuple[Made, Version]:
        """Make an edit."""
        service = self.fleet.changed(model)
        made = await service.edit(edit, ends_of(http))
        version = Version(service.name, service.engine.run_id, made.receipt.generation)
        served_by(http, version)
        return made, version

    def engine(self, model: str | None) -> Engine:
        """What serves the items that are to be edited."""
        return self.fleet.changed(model).engine

    def known_id(self, model: str | None, item: str) -> str:
        """An id as the catalogue has it."""
        return one_id(item, "item", self.engine(model).catalogue.rows)


def _changed(made: Made, version: Version, item: str) -> s.ChangedItem:
    catalogue = made.catalogue
    row = catalogue.rows[item]
    return s.ChangedItem(
        **version._asdict(),
        **views.name(catalogue, row),
        state=STATES[catalogue.states[row]],
    )


def _add_adding(app: FastAPI, edits: _Edits) -> None:
    @app.post(
        "/v1/items",
        status_code=201,
        responses={
            **problems(403, 404, 409, 503),
            200: {"model": s.AddedItems, "description": "All items were there already"},
        },
        tags=["catalogue"],
    )
    async def add_items(
        request: s.NewItems,
        http: Request,
        response: Response,
        model: ModelName = None,
        key: IdempotencyKey = None,
    ) -> s.AddedItems:
        """Add items; they can be recommended as soon as this is answered. With `upsert`, those
        that are there get what is given here, as by PUT, instead of being refused.
        """
        new = {i.item: _words(i.title, i.text, i.image) for i in request.items}
        if len(new) < len(request.items):
            raise RequestError("an item id comes twice in one request; give each once")
        said = {i.item: i.domain for i in request.items if i.domain is not None}
        new, domains = placed(new, said, edits.engine(model))
        kind = PutItems if request.upsert else AddItems
        edit = kind(new, _key(key, http, request.model_dump_json), domains)
        made, version = await edits.made(http, model, edit)
        catalogue, receipt = made.catalogue, made.receipt
        if not receipt.added:
            response.status_code = 200
        return s.AddedItems(
            **version._asdict(),
            added=receipt.added,
            changed=receipt.changed,
            items=[s.ItemName(**views.name(catalogue, catalogue.rows[i])) for i in new],
        )

    @app.put(
        "/v1/items/{item:path}",
        responses={
            **problems(403, 404, 409, 503),
            201: {"model": s.ChangedItem, "description": "The item was added"},
        },
        tags=["catalogue"],
    )
    async def put_item(
        item: ItemId,
        words: s.ItemWords,
        http: Request,
        response: Response,
        model: ModelName = None,
        key: IdempotencyKey = None,
    ) -> s.ChangedItem:
        """Add an item, or give one that is there this title, text and image. What is not given, or
        is empty, stays; so do its identifier and its state. One that was deleted is refused.
        """
        item = edits.known_id(model, item)
        text = _words(words.title, words.text, words.image)
        edit = PutItems({item: text}, _key(key, http, words.model_dump_json))
        made, version = await edits.made(http, model, edit)
        if made.receipt.added:
            response.status_code = 201
        return _changed(made, version, item)


def _add_changing(app: FastAPI, edits: _Edits) -> None:
    @app.patch("/v1/items/{item:path}", responses=problems(403, 404, 409, 503), tags=["catalogue"])
    async def change_item(
        item: ItemId,
        change: s.ItemChange,
        http: Request,
        model: ModelName = None,
        key: IdempotencyKey = None,
    ) -> s.ChangedItem:
        """Block an item, delete it, or bring it back; edit its title, its text or its image."""
        if not change.model_dump(exclude_none=True):
            raise RequestError("nothing is to change; give state, title, text or image")
        item = edits.known_id(model, item)
        edit = ChangeItem(
            item,
            change.title,
            change.text,
            change.image,
            change.state,
            _key(key, http, change.model_dump_json),
        )
        made, version = await edits.made(http, model, edit)
        return _changed(made, version, item)

    @app.delete("/v1/items/{item:path}", responses=problems(403, 404, 409, 503), tags=["catalogue"])
    async def delete_item(
        item: ItemId, http: Request, model: ModelName = None, key: IdempotencyKey = None
    ) -> s.ChangedItem:
        """Delete an item; its id and its identifier stay taken."""
        item = edits.known_id(model, item)
        edit = ChangeItem(item, state="deleted", key=_key(key, http, str))
        made, version = await edits.made(http, model, edit)
        return _changed(made, version, item)


def _add_bulk(app: FastAPI, edits: _Edits) -> None:
    @app.post(BULK, responses=problems(403, 404, 409, 503), openapi_extra=_FILE, tags=["catalogue"])
    async def import_items(
        http: Request, model: ModelName = None, key: IdempotencyKey = None
    ) -> s.ImportedItems:
        """Take a table of items (csv, tsv, jsonl, parquet; columns item, title, image, further
        text): PUT for each row, all or none.
        """
        body = await http.body()
        suffix = table_suffix(http.headers.get("content-type", ""))
        if suffix is None:
            raise RequestError("there is no table; send one as the body, with its content-type")
        engine = edits.engine(model)
        items, domains = await asyncio.to_thread(_items_of, body, suffix, engine)
        repeated = await asyncio.to_thread(_key, key, http, lambda: fingerprint(body))
        edit = PutItems(items, repeated, domains)
        made, version = await edits.made(http, model, edit)
        receipt = made.receipt
        return s.ImportedItems(
            **version._asdict(), rows=len(items), added=receipt.added, changed=receipt.changed
        )


def _words(title: str, text: str, image: str) -> ItemText:
    return item_text(title, [text])._replace(image=image)


def _key(key: str | None, http: Request, body: Callable[[], str]) -> Key | None:
    """By which a repeated request is recognised; ``body`` is made only where there is a key."""
    if key is None:
        return None
    asked = f"{http.method} {http.url.path}?{http.url.query}"
    return Key(fingerprint(key), fingerprint(asked, body()))


def _items_of(
    body: bytes, suffix: str, engine: Engine
) -> tuple[dict[str, ItemText], dict[str, str]]:
    """The items of a table, and the domain of each; see `placed_table`.

    Raises:
        RequestError: it is none, or holds none.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = FilePath(folder) / f"items{suffix}"
        path.write_bytes(body)
        try:
            return placed_table(path, engine)
        except DataError as error:
            raise RequestError(str(error).replace(f"{folder}/", "")) from None
