"""The HTTP application: its routes, what every request passes through, and the page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from letterrec.runs.origin import VERSION
from letterrec.serving.fleet import Fleet, standing
from letterrec.serving.http import schemas as s
from letterrec.serving.http.admission import Admission
from letterrec.serving.http.bodies import StrictRoute
from letterrec.serving.http.cataloguing import add_catalogue
from letterrec.serving.http.description import described
from letterrec.serving.http.drawings import CachedBody, Drawings, ZippedAnswers
from letterrec.serving.http.exploring import add_exploring
from letterrec.serving.http.middleware import RequestMiddleware
from letterrec.serving.http.operating import add_operating
from letterrec.serving.http.problems import add_error_handlers
from letterrec.serving.http.recommending import add_recommending
from letterrec.serving.http.showing import add_showing
from letterrec.serving.http.tokens import Tokens
from letterrec.serving.telemetry import event

_PLOTLY = "plotly.js"


def create_app(
    fleet: Fleet,
    *,
    tokens: Tokens | None = None,
    may_change: bool = True,
    body_limit: int = 1_000_000,
    deadline: float = 2.0,
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
    root_path: str = "",
) -> FastAPI:
    """The application that serves runs.

    It is ready, as `/readyz` tells, while ``app.state.ready`` is true.

    Args:
        fleet: the runs.
        tokens: that clients must bring; None lets everyone in.
        may_change: whether requests may change the catalogue or reload the run.
        body_limit: bytes of a request's body.
        deadline: seconds within which every request is answered, if need be with a 503.
        hosts: names by which clients may call the server; None for any.
        origins: other sites whose pages may ask the server, as ``https://shop.example``.
        root_path: the path under which a proxy has the server, such as ``/rec``.
    """
    tokens = tokens or Tokens()
    drawings = Drawings()

    @cache
    def description() -> CachedBody:
        return CachedBody.of(json.dumps(described(app, tokens.asked_for, root_path)).encode())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, object]]:
        for make in (page_files, description):  # so that the first request for them need not wait
            await asyncio.to_thread(make)
        await fleet.catch_up()
        watching = asyncio.create_task(fleet.watch())
        app.state.ready = True
        yield {"refused": fleet.metrics.refused}
        app.state.ready = False
        watching.cancel()
        drawings.close()
        await fleet.close()
        event("stopped")

    app = FastAPI(
        title="LetterRec",
        version=VERSION,
        description="Recommendations by generated item identifiers.",
        lifespan=lifespan,
        openapi_url=None,  # served below, as bytes
        docs_url=None,  # FastAPI's pages load scripts from other sites
        redoc_url=None,
        redirect_slashes=False,  # a redirect would repeat what the client sent as Host
        responses={422: {"model": s.Problem, "description": "The request is not valid"}},
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.ready = False
    app.add_middleware(ZippedAnswers)
    app.add_middleware(
        RequestMiddleware,
        metrics=fleet.metrics,
        admission=Admission(tokens, may_change, body_limit, hosts, origins),
        deadline=deadline,
        version=lambda: None if fleet.only is None else standing(fleet.only).version,
        root_path=root_path,
    )
    app.router.route_class = StrictRoute
    add_error_handlers(app, fleet)
    add_recommending(app, fleet, drawings)
    add_catalogue(app, fleet, drawings)
    add_exploring(app, fleet, drawings)
    add_showing(app, fleet, drawings)
    add_operating(app, fleet)
    _add_page(app, description)
    return app


def _add_page(app: FastAPI, description: Callable[[], CachedBody]) -> None:
    @app.get("/", include_in_schema=False)
    async def page(http: Request) -> Response:
        return page_files()["index.html"].response(http)

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str, http: Request) -> Response:
        body = page_files().get(name)
        if body is None:
            raise HTTPException(404)
        kept = "max-age=86400" if name == _PLOTLY else "no-cache"
        return body.response(http, **{"cache-control": kept})

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(http: Request) -> Response:
        return description().response(http)


_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@cache
def page_files() -> dict[str, CachedBody]:
    """The page's files and Plotly's own script, by name."""
    from plotly.offline import get_plotlyjs

    files = (resources.files("letterrec.serving") / "page").iterdir()
    bodies = {
        file.name: CachedBody.of(file.read_bytes(), _TYPES[file.name.rpartition(".")[2]])
        for file in files
        if file.name.rpartition(".")[2] in _TYPES
    }
    return {**bodies, _PLOTLY: CachedBody.of(get_plotlyjs().encode(), "text/javascript")}
