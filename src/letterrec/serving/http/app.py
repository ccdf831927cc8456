"""The HTTP application, with its routes for the catalogue, exploring, operating and the page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import Annotated, Literal

from fastapi import FastAPI, Path, Query, Request, Response
from starlette.exceptions import HTTPException

import letterrec
from letterrec.data.text import item_text
from letterrec.errors import Conflict, LetterRecError, Overloaded, RequestError
from letterrec.serving import queries
from letterrec.serving.catalogue.edits import AddItems, SetStates
from letterrec.serving.catalogue.items import STATES
from letterrec.serving.catalogue.tree import children
from letterrec.serving.http import schemas as s
from letterrec.serving.http import views
from letterrec.serving.http.admission import Admission
from letterrec.serving.http.bodies import StrictRoute
from letterrec.serving.http.drawings import CachedBody, Drawings
from letterrec.serving.http.middleware import RequestMiddleware, ends_of
from letterrec.serving.http.problems import add_error_handlers, problems
from letterrec.serving.http.recommending import add_recommending
from letterrec.serving.http.telemetry import event
from letterrec.serving.service import Service

_NEIGHBOURS = 8
_PLOTLY = "plotly.js"
ItemId = Annotated[str, Path(min_length=1, max_length=256, description="the item's id")]


def create_app(
    service: Service,
    *,
    token: str | None = None,
    may_change: bool = True,
    body_limit: int = 1_000_000,
    deadline: float = 2.0,
    hosts: Collection[str] | None = None,
) -> FastAPI:
    """The application that serves a run.

    Args:
        service: the run.
        token: that clients must bring; None lets everyone in.
        may_change: whether requests may change the catalogue or reload the run.
        body_limit: bytes of a request's body.
        deadline: seconds within which every request is answered, if need be with a 503.
        hosts: names by which clients may call the server; None for any.
    """
    drawings = Drawings()

    @cache
    def description() -> CachedBody:
        return CachedBody.of(json.dumps(app.openapi()).encode())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, object]]:
        for make in (_files, description):  # so that the first request for them need not wait
            await asyncio.to_thread(make)
        watching = asyncio.create_task(service.watch())
        app.state.ready = True
        yield {"refused": service.metrics.refused}
        app.state.ready = False
        watching.cancel()
        drawings.close()
        await asyncio.to_thread(service.close)
        event("stopped")

    app = FastAPI(
        title="LetterRec",
        version=letterrec.__version__,
        description="Recommendations by generated item identifiers.",
        lifespan=lifespan,
        openapi_url=None,  # served below, as bytes
        docs_url=None,  # FastAPI's pages load scripts from other sites
        redoc_url=None,
        redirect_slashes=False,  # a redirect would repeat what the client sent as Host
        responses={422: {"model": s.Problem, "description": "The request is not valid"}},
    )
    app.state.ready = False
    app.add_middleware(
        RequestMiddleware,
        metrics=service.metrics,
        admission=Admission(token, may_change, body_limit, hosts),
        deadline=deadline,
    )
    app.router.route_class = StrictRoute
    add_error_handlers(app, service)
    add_recommending(app, service, drawings)
    _add_catalogue(app, service, drawings)
    _add_exploring(app, service, drawings)
    _add_operating(app, service)
    _add_page(app, description)
    return app


def _add_catalogue(app: FastAPI, service: Service, drawings: Drawings) -> None:
    @app.get("/v1/search", responses=problems(), tags=["catalogue"])
    async def search(
        q: Annotated[str, Query(min_length=1, max_length=200, description="words of a title")],
        limit: Annotated[int, Query(ge=1, le=50)] = 10,
    ) -> s.SearchResponse:
        """Items whose titles hold all words, case and accents aside."""
        catalogue = service.engine.catalogue
        rows = await drawings.run(lambda: catalogue.search(q, limit))
        return s.SearchResponse(
            items=[
                s.Found(
                    **views.name(catalogue, row),
                    state=STATES[catalogue.states[row]],
                    interactions=int(catalogue.popularity[row]),
                )
                for row in rows
            ]
        )

    @app.post("/v1/items", status_code=201, responses=problems(403, 409, 503), tags=["catalogue"])
    async def add_items(request: s.NewItems, http: Request) -> s.AddedItems:
        """Add items; they can be recommended as soon as this is answered."""
        new = {i.item: item_text(i.title, [i.text]) for i in request.items}
        if len(new) < len(request.items):
            raise RequestError("an item id comes twice in one request; give each once")
        domains = {i.item: i.domain for i in request.items if i.domain is not None}
        edit = AddItems(new, domains).placed(service.engine)
        catalogue = await service.edit(edit, ends_of(http))
        return s.AddedItems(
            items=[s.ItemName(**views.name(catalogue, catalogue.rows[i])) for i in edit.items],
            generation=catalogue.generation,
        )

    @app.get("/v1/items/{item:path}", responses=problems(404), tags=["catalogue"])
    async def item(item: ItemId) -> s.Item:
        """An item: text, identifier, neighbours in code space."""
        engine = service.engine
        catalogue = engine.catalogue
        known = queries.one_id(item, "item", catalogue.rows)
        return await drawings.run(lambda: views.item(engine, catalogue, known, _NEIGHBOURS))

    async def set_state(item: str, state: s.State, ends: float) -> s.ItemState:
        item = queries.one_id(item, "item", service.engine.catalogue.rows)
        catalogue = await service.edit(SetStates({item: state}), ends)
        return s.ItemState(item=item, state=state, generation=catalogue.generation)

    @app.patch("/v1/items/{item:path}", responses=problems(403, 404, 503), tags=["catalogue"])
    async def change_item(item: ItemId, change: s.StateChange, http: Request) -> s.ItemState:
        """Block an item, delete it, or bring it back."""
        return await set_state(item, change.state, ends_of(http))

    @app.delete("/v1/items/{item:path}", responses=problems(403, 404, 503), tags=["catalogue"])
    async def delete_item(item: ItemId, http: Request) -> s.ItemState:
        """Delete an item; its id and its identifier stay taken."""
        return await set_state(item, "deleted", ends_of(http))


def _add_exploring(app: FastAPI, service: Service, drawings: Drawings) -> None:
    @app.get("/v1/run", response_model=s.RunInfo, responses=problems(), tags=["explore"])
    async def run(http: Request) -> Response:
        """What is served."""
        engine = service.engine
        catalogue = engine.catalogue

        def draw() -> bytes:
            return views.run_info(engine, catalogue).model_dump_json().encode()

        return (await drawings.get("run", catalogue, draw)).response(http)

    @app.get("/v1/tree", response_model=s.Tree, responses=problems(404), tags=["explore"])
    async def tree(
        http: Request,
        prefix: Annotated[
            str,
            Query(
                pattern=r"^([0-9]{1,8}(,[0-9]{1,8}){0,31})?$",
                description="codes from the first level on, as in 12,7",
            ),
        ] = "",
    ) -> Response:
        """The codes that follow a prefix of identifiers, with sample titles."""
        codes = tuple(int(c) for c in prefix.split(",")) if prefix else ()
        catalogue = service.engine.catalogue

        def draw() -> bytes:
            return s.Tree(**children(catalogue, codes)).model_dump_json().encode()

        return (await drawings.get(("tree", codes), catalogue, draw)).response(http)

    @app.get("/v1/map", response_model=s.Map, responses=problems(404), tags=["explore"])
    async def embedding_map(
        http: Request,
        of: Annotated[
            Literal["items", "codes"],
            Query(description="content embeddings of items, or code embeddings of a level"),
        ] = "items",
        level: Annotated[int, Query(ge=1, le=32, description="of the codes")] = 1,
        points: Annotated[int, Query(ge=1, le=20_000, description="items at most")] = 2_500,
    ) -> Response:
        """Embeddings on their first three principal components (the paper's Fig. 7)."""
        engine = service.engine
        catalogue = engine.catalogue

        def draw() -> bytes:
            return views.embedding_map(engine, catalogue, of, level, points)

        if of == "items":  # only trained items are shown: edits change nothing
            body = await drawings.get(("items", min(points, catalogue.n_trained)), engine, draw)
        else:
            body = await drawings.get(("codes", level), catalogue, draw)
        return body.response(http)


def _add_operating(app: FastAPI, service: Service) -> None:
    @app.post("/v1/reload", responses=problems(403, 409, 503), tags=["operate"])
    async def reload() -> s.RunInfo:
        """Serve the run as it is on the disk now; a run that cannot be served is refused."""
        try:
            engine = await service.reload()
        except LetterRecError as error:
            raise Conflict(f"the run stays as it was: {error}") from error
        return views.run_info(engine, engine.catalogue)

    @app.get("/healthz", tags=["operate"])
    async def health() -> s.Health:
        """The process is alive."""
        return s.Health(status="ok")

    @app.get(
        "/readyz",
        tags=["operate"],
        responses={503: {"model": s.Problem, "description": "Not ready"}},
    )
    async def ready() -> s.Health:
        """Requests can be answered."""
        if not app.state.ready:
            raise Overloaded("the server is starting or stopping; ask again in a second")
        return s.Health(status="ready")

    @app.get(
        "/metrics",
        tags=["operate"],
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
            **problems(),
        },
    )
    async def metrics() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_page(app: FastAPI, description: Callable[[], CachedBody]) -> None:
    @app.get("/", include_in_schema=False)
    async def page(http: Request) -> Response:
        return _files()["index.html"].response(http)

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str, http: Request) -> Response:
        body = _files().get(name)
        if body is None:
            raise HTTPException(404)
        kept = "max-age=86400" if name == _PLOTLY else "no-cache"
        return body.response(http, **{"cache-control": kept})

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(http: Request) -> Response:
        return description().response(http)


_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@cache
def _files() -> dict[str, CachedBody]:
    """The page's files and Plotly's own script, by name."""
    from plotly.offline import get_plotlyjs

    files = (resources.files("letterrec.serving") / "page").iterdir()
    bodies = {
        file.name: CachedBody.of(file.read_bytes(), _TYPES[file.name.rpartition(".")[2]])
        for file in files
        if file.name.rpartition(".")[2] in _TYPES
    }
    return {**bodies, _PLOTLY: CachedBody.of(get_plotlyjs().encode(), "text/javascript")}
