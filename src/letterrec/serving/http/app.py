"""The HTTP interface: routes, and how errors become answers."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal, TypeVar, cast

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

import letterrec
from letterrec.data.text import item_text
from letterrec.errors import Conflict, LetterRecError, NotFound, Overloaded, RequestError, RunError
from letterrec.serving import queries
from letterrec.serving.catalogue.edits import AddItems, SetStates
from letterrec.serving.catalogue.items import STATES
from letterrec.serving.catalogue.tree import children, shared_codes
from letterrec.serving.engine import Engine
from letterrec.serving.http import schemas as s
from letterrec.serving.http import views
from letterrec.serving.http.admission import Admission
from letterrec.serving.http.bodies import StrictRoute
from letterrec.serving.http.drawings import Drawings, Sheet
from letterrec.serving.http.middleware import Guard
from letterrec.serving.http.telemetry import event, log
from letterrec.serving.queries import Prepared
from letterrec.serving.service import Service

_NEIGHBOURS = 8
_PLOTLY = "plotly.js"
T = TypeVar("T")
_FEW = 500  # ids or recommendations that are worked on in between; more are on a thread
_STATUS: list[tuple[type[LetterRecError], int]] = [
    (NotFound, 404),
    (Conflict, 409),
    (RequestError, 422),
    (Overloaded, 503),
    (RunError, 503),
]
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
        deadline: seconds in which a request is answered, with a 503 if it must be.
        hosts: names by which clients may call the server; None for any.
    """
    drawings = Drawings()

    @cache
    def description() -> Sheet:
        return Sheet.of(json.dumps(app.openapi()).encode())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, object]]:
        for make in (_files, description):  # before anyone asks for them, who would wait
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
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # the address would be made of the Host header
        responses={422: {"model": s.Problem, "description": "The request is not valid"}},
    )
    app.state.ready = False
    app.add_middleware(
        Guard,
        metrics=service.metrics,
        admission=Admission(token, may_change, body_limit, hosts),
        deadline=deadline,
    )
    app.router.route_class = StrictRoute
    _add_error_handlers(app, service)
    _add_recommending(app, service, drawings)
    _add_catalogue(app, service, drawings)
    _add_looking(app, service, drawings)
    _add_operating(app, service)
    _add_page(app, description)
    return app


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: refusals besides 422 that a route may answer."""
    words = {
        400: "The request is not HTTP as it should be, or the body is not JSON",
        401: "There is no token, or a wrong one",
        403: "Not from here",
        404: "There is no such user, item or prefix",
        409: "The catalogue already has it",
        408: "The body did not come in time",
        413: "The body is too large",
        415: "The body is of another type than JSON",
        421: "The server is not known by the name in the Host header",
        503: "Too many requests; try again after the seconds of Retry-After",
    }
    always = (400, 401, 408, 413, 415, 421, 503)
    return {n: {"model": s.Problem, "description": words[n]} for n in {*always, *statuses}}


def status_of(error: LetterRecError) -> int:
    """The HTTP status of a refusal."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 422)


def _add_error_handlers(app: FastAPI, service: Service) -> None:
    @app.exception_handler(LetterRecError)
    async def refused(request: Request, error: LetterRecError) -> JSONResponse:
        status = status_of(error)
        headers = {"retry-after": "1"} if status == 503 else None
        if isinstance(error, RunError):
            log.warning("the run's folder", extra={"fields": {"reason": str(error)}})
        detail = without_paths(error, str(service.engine.folder))
        return JSONResponse({"detail": detail}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"detail": s.why_invalid(error.errors())}, 422)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        detail, headers = error.detail, error.headers
        if error.status_code == 404:
            detail = "there is nothing at this address; /openapi.json lists what there is"
        elif error.status_code == 405:
            methods = ", ".join(_methods(app, request))
            headers = {"allow": methods}
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=headers)
            detail = f"{request.method} is not allowed here; use {methods}"
        return JSONResponse({"detail": queries.one_line(detail)}, error.status_code, headers)


def _methods(app: FastAPI, request: Request) -> list[str]:
    """What may be asked at the address of a request."""
    found = {"OPTIONS"}
    for route in app.routes:
        if isinstance(route, Route) and route.matches(dict(request.scope))[0] != Match.NONE:
            found |= route.methods or set()
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


_PATH = re.compile(r"(?<![\w/.])(?:/[^\s/:;,'\"()]+)+/(?=[^\s/:;,'\"()])")


def without_paths(error: LetterRecError, folder: str) -> str:
    """An error as clients are told it: without the server's folders, in one line.

    >>> without_paths(NotFound("item '/etc/a' is not among the items of /srv/run"), "/srv/run")
    "item '/etc/a' is not among the items of the run"
    >>> without_paths(RunError("/srv/run/data/a.parquet is damaged; see /tmp/b/c"), "/srv/run")
    'data/a.parquet is damaged; see c'
    """
    text = " ".join(str(error).split())
    if folder.startswith("/"):
        text = text.replace(f"{folder}/", "").replace(folder, "the run")
    text = _PATH.sub("", text) if isinstance(error, RunError | Conflict) else text
    return queries.one_line(text)


def _add_recommending(app: FastAPI, service: Service, drawings: Drawings) -> None:
    async def answers_to(
        requests: Sequence[s.RecommendRequest | ValidationError], ends: float
    ) -> list[bytes | LetterRecError]:
        """Per request the answer as JSON, or why it was refused."""
        engine = service.engine

        async def worked_out(work: Callable[[], T], size: int) -> T:
            """Here, or on a thread where it would keep other requests waiting."""
            return work() if size <= _FEW else await drawings.run(work)

        prepared = await worked_out(
            lambda: [_prepared(engine, request) for request in requests], sum(map(_ids, requests))
        )
        sound = [query for query in prepared if isinstance(query, Prepared)]
        found = await service.batcher.answer(engine, sound, ends) if sound else []

        def responses() -> list[bytes | LetterRecError]:
            answers = iter(found)
            return [
                _response(engine, request, query, next(answers), ends)
                if isinstance(request, s.RecommendRequest) and isinstance(query, Prepared)
                else cast(LetterRecError, query)
                for request, query in zip(requests, prepared, strict=True)
            ]

        explained = any(isinstance(r, s.RecommendRequest) and r.explain for r in requests)
        return await worked_out(responses, _FEW + 1 if explained else sum(map(len, found)))

    @app.post(
        "/v1/recommend",
        response_model=s.RecommendResponse,
        responses=problems(404, 503),
        tags=["recommend"],
    )
    async def recommend(request: s.RecommendRequest, http: Request) -> Response:
        """The best next items for a history, or for a user of the run."""
        (answer,) = await answers_to([request], _ends(http))
        if isinstance(answer, LetterRecError):
            raise answer
        return Response(answer, media_type="application/json")

    @app.post(
        "/v1/recommend/batch",
        response_model=s.BatchResponse,
        responses=problems(503),
        tags=["recommend"],
    )
    async def recommend_batch(request: s.BatchRequest, http: Request) -> Response:
        """The same for several requests at once: an answer or an error for each."""
        answers = await answers_to(request.parsed(), _ends(http))
        folder = str(service.engine.folder)
        each = [a if isinstance(a, bytes) else _refused(a, folder) for a in answers]
        body = b'{"answers":[' + b",".join(each) + b"]}"  # a `s.BatchResponse`
        return Response(body, media_type="application/json")


def _ids(request: s.RecommendRequest | ValidationError) -> int:
    """How many ids a request holds."""
    if isinstance(request, ValidationError):
        return 0
    return sum(len(ids or ()) for ids in (request.history, request.allowed, request.blocked))


def _ends(request: Request) -> float:
    """When a request's time is over, on the clock of `time.monotonic`."""
    ends: float = request.scope["state"]["ends"]
    return ends


def _prepared(
    engine: Engine, request: s.RecommendRequest | ValidationError
) -> Prepared | LetterRecError:
    if isinstance(request, ValidationError):
        return RequestError(s.why_invalid(request.errors()))
    try:
        return engine.prepare(
            queries.Query(
                _history(engine, request),
                request.k,
                request.exclude_seen,
                request.allowed,
                request.blocked,
                instruction=request.instruction,
                unknown=request.unknown,
            )
        )
    except LetterRecError as error:
        return error


def _refused(error: LetterRecError, folder: str) -> bytes:
    """The place of an answer that there is not, as JSON."""
    refusal = s.Refusal(status=status_of(error), detail=without_paths(error, folder))
    return s.Refused(error=refusal).model_dump_json().encode()


def _history(engine: Engine, request: s.RecommendRequest) -> list[str]:
    if (request.user is None) == (request.history is None):
        raise RequestError("expected either history (a list of item ids) or user (an id)")
    if request.user is not None:
        return engine.history_of(request.user)[-s.MAX_HISTORY :]
    return request.history or []


def _response(
    engine: Engine,
    request: s.RecommendRequest,
    query: Prepared,
    answer: list[tuple[int, float]],
    ends: float,
) -> bytes:
    """An answer as JSON: one at a time, since all of a large batch would hold the interpreter."""
    if time.monotonic() > ends:
        raise Overloaded("the deadline passed; try again later, or ask for less")
    catalogue, history = engine.catalogue, query.rows
    items = []
    for row, score in answer:
        because = None
        if request.explain:
            because = [
                s.Because(**views.name(catalogue, why["row"]), shared=why["shared"])
                for why in shared_codes(catalogue, history, row)
            ]
        items.append(
            s.Recommendation(**views.name(catalogue, row), log_probability=score, because=because)
        )
    names = None
    if request.explain:
        names = [s.ItemName(**views.name(catalogue, row)) for row in history]
    response = s.RecommendResponse(items=items, history=names, skipped=list(query.skipped))
    return response.model_dump_json().encode()


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
        catalogue = await service.edit(AddItems(new), _ends(http))
        return s.AddedItems(
            items=[s.ItemName(**views.name(catalogue, catalogue.rows[i])) for i in new],
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
        return await set_state(item, change.state, _ends(http))

    @app.delete("/v1/items/{item:path}", responses=problems(403, 404, 503), tags=["catalogue"])
    async def delete_item(item: ItemId, http: Request) -> s.ItemState:
        """Delete an item; its id and its identifier stay taken."""
        return await set_state(item, "deleted", _ends(http))


def _add_looking(app: FastAPI, service: Service, drawings: Drawings) -> None:
    @app.get("/v1/run", response_model=s.RunInfo, responses=problems(), tags=["explore"])
    async def run(http: Request) -> Response:
        """What is served."""
        engine = service.engine
        catalogue = engine.catalogue

        def draw() -> bytes:
            return views.run_info(engine, catalogue).model_dump_json().encode()

        return (await drawings.sheet("run", catalogue, draw)).answer(http)

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

        return (await drawings.sheet(("tree", codes), catalogue, draw)).answer(http)

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

        if of == "items":  # of what was trained on, which edits do not change
            sheet = await drawings.sheet(("items", min(points, catalogue.n_trained)), engine, draw)
        else:
            sheet = await drawings.sheet(("codes", level), catalogue, draw)
        return sheet.answer(http)


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


def _add_page(app: FastAPI, description: Callable[[], Sheet]) -> None:
    @app.get("/", include_in_schema=False)
    async def page(http: Request) -> Response:
        return _files()["index.html"].answer(http)

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str, http: Request) -> Response:
        sheet = _files().get(name)
        if sheet is None:
            raise HTTPException(404)
        kept = "max-age=86400" if name == _PLOTLY else "no-cache"
        return sheet.answer(http, **{"cache-control": kept})

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(http: Request) -> Response:
        return description().answer(http)


_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@cache
def _files() -> dict[str, Sheet]:
    """The page's files and Plotly's own script, by name."""
    from plotly.offline import get_plotlyjs

    files = (resources.files("letterrec.serving") / "page").iterdir()
    sheets = {
        file.name: Sheet.of(file.read_bytes(), _TYPES[file.name.rpartition(".")[2]])
        for file in files
        if file.name.rpartition(".")[2] in _TYPES
    }
    return {**sheets, _PLOTLY: Sheet.of(get_plotlyjs().encode(), "text/javascript")}
