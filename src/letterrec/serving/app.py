"""The HTTP interface: routes, and how errors become answers.

Knows what each request and answer looks like. Leaves admission to `guard`, the work to `service`
and the page's looks to `static/`.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal, cast

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import ValidationError
from starlette.exceptions import HTTPException

import letterrec
from letterrec.data.catalogue import item_text
from letterrec.errors import Conflict, LetterRecError, NotFound, Overloaded, RequestError, RunError
from letterrec.serving import looking, queries
from letterrec.serving import schemas as s
from letterrec.serving.catalogue import STATES
from letterrec.serving.editing import AddItems, SetStates
from letterrec.serving.engine import Engine
from letterrec.serving.explore import children, shared_codes
from letterrec.serving.guard import Guard
from letterrec.serving.observing import event
from letterrec.serving.queries import Prepared
from letterrec.serving.service import Service

_NEIGHBOURS = 8
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
) -> FastAPI:
    """The application that serves a run.

    Args:
        service: the run.
        token: that clients must bring; None lets everyone in.
        may_change: whether requests may change the catalogue or reload the run.
        body_limit: bytes of a request's body.
        deadline: seconds after which a request that was not answered is given up.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(service.watch())
        app.state.ready = True
        yield
        app.state.ready = False
        watching.cancel()
        await asyncio.to_thread(service.close)
        event("stopped")

    app = FastAPI(
        title="LetterRec",
        version=letterrec.__version__,
        description="Recommendations by generated item identifiers.",
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        responses={422: {"model": s.Problem, "description": "The request is not valid"}},
    )
    app.state.ready = False
    app.add_middleware(
        Guard,
        metrics=service.metrics,
        token=token,
        may_change=may_change,
        body_limit=body_limit,
    )
    _add_error_handlers(app)
    _add_recommending(app, service, deadline)
    _add_catalogue(app, service)
    _add_looking(app, service)
    _add_operating(app, service)
    _add_page(app)
    return app


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: refusals besides 422 that a route may answer."""
    words = {
        400: "The body is not JSON",
        401: "There is no token, or a wrong one",
        403: "Not from here",
        404: "There is no such user, item or prefix",
        409: "The catalogue already has it",
        413: "The body is too large",
        503: "Too many requests; try again after the seconds of Retry-After",
    }
    return {n: {"model": s.Problem, "description": words[n]} for n in (400, 401, 413, *statuses)}


def status_of(error: LetterRecError) -> int:
    """The HTTP status of a refusal."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 422)


def one_line(error: LetterRecError) -> str:
    """What a refusal says, for ``detail``."""
    return " ".join(str(error).split())


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(LetterRecError)
    async def refused(request: Request, error: LetterRecError) -> JSONResponse:
        status = status_of(error)
        headers = {"retry-after": "1"} if status == 503 else None
        return JSONResponse({"detail": one_line(error)}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return JSONResponse({"detail": f"the body is not JSON ({first['ctx']['error']})"}, 400)
        return JSONResponse({"detail": s.why_invalid(error.errors())}, 422)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        detail = error.detail
        if error.status_code == 404:
            detail = "there is nothing at this address; /openapi.json lists what there is"
        elif error.status_code == 400:
            detail = "the body could not be read as JSON; check its nesting and its encoding"
        return JSONResponse({"detail": detail}, error.status_code, error.headers)


def _add_recommending(app: FastAPI, service: Service, deadline: float) -> None:
    async def answers_to(
        requests: Sequence[s.RecommendRequest | ValidationError],
    ) -> list[s.RecommendResponse | LetterRecError]:
        """Per request the answer, or why it was refused."""
        ends = time.monotonic() + deadline
        engine = service.engine
        prepared = [_prepared(engine, request) for request in requests]
        sound = [query for query in prepared if isinstance(query, Prepared)]
        found = iter(await service.batcher.answer(engine, sound, ends) if sound else [])
        return [
            _response(engine, request, query, next(found))
            if isinstance(request, s.RecommendRequest) and isinstance(query, Prepared)
            else cast(LetterRecError, query)
            for request, query in zip(requests, prepared, strict=True)
        ]

    @app.post("/v1/recommend", responses=problems(404, 503), tags=["recommend"])
    async def recommend(request: s.RecommendRequest) -> s.RecommendResponse:
        """The best next items for a history, or for a user of the run."""
        (answer,) = await answers_to([request])
        if isinstance(answer, LetterRecError):
            raise answer
        return answer

    @app.post("/v1/recommend/batch", responses=problems(503), tags=["recommend"])
    async def recommend_batch(request: s.BatchRequest) -> s.BatchResponse:
        """The same for several requests at once: an answer or an error for each."""
        answers = await answers_to(request.parsed())
        return s.BatchResponse(answers=[_or_refused(answer) for answer in answers])


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


def _or_refused(answer: s.RecommendResponse | LetterRecError) -> s.RecommendResponse | s.Refused:
    if isinstance(answer, s.RecommendResponse):
        return answer
    return s.Refused(error=s.Refusal(status=status_of(answer), detail=one_line(answer)))


def _history(engine: Engine, request: s.RecommendRequest) -> list[str]:
    if (request.user is None) == (request.history is None):
        raise RequestError("expected either history (a list of item ids) or user (an id)")
    if request.user is not None:
        return engine.history_of(request.user)[-s.MAX_HISTORY :]
    return request.history or []


def _response(
    engine: Engine, request: s.RecommendRequest, query: Prepared, answer: list[tuple[int, float]]
) -> s.RecommendResponse:
    catalogue, history = engine.catalogue, query.rows
    items = []
    for row, score in answer:
        because = None
        if request.explain:
            because = [
                s.Because(**looking.name(catalogue, why["row"]), shared=why["shared"])
                for why in shared_codes(catalogue, history, row)
            ]
        items.append(
            s.Recommendation(**looking.name(catalogue, row), log_probability=score, because=because)
        )
    names = None
    if request.explain:
        names = [s.ItemName(**looking.name(catalogue, row)) for row in history]
    return s.RecommendResponse(items=items, history=names, skipped=list(query.skipped))


def _add_catalogue(app: FastAPI, service: Service) -> None:
    @app.get("/v1/search", responses=problems(), tags=["catalogue"])
    def search(
        q: Annotated[str, Query(min_length=1, max_length=200, description="words of a title")],
        limit: Annotated[int, Query(ge=1, le=50)] = 10,
    ) -> s.SearchResponse:
        """Items whose titles hold all words, case and accents aside."""
        catalogue = service.engine.catalogue
        return s.SearchResponse(
            items=[
                s.Found(
                    **looking.name(catalogue, row),
                    state=STATES[catalogue.states[row]],
                    interactions=int(catalogue.popularity[row]),
                )
                for row in catalogue.search(q, limit)
            ]
        )

    @app.post("/v1/items", status_code=201, responses=problems(403, 409, 503), tags=["catalogue"])
    async def add_items(request: s.NewItems) -> s.AddedItems:
        """Add items; they can be recommended as soon as this is answered."""
        new = {i.item: item_text(i.title, [i.text]) for i in request.items}
        if len(new) < len(request.items):
            raise RequestError("an item id comes twice in one request; give each once")
        catalogue = await service.edit(AddItems(new))
        return s.AddedItems(
            items=[s.ItemName(**looking.name(catalogue, catalogue.rows[i])) for i in new],
            generation=catalogue.generation,
        )

    @app.get("/v1/items/{item:path}", responses=problems(404), tags=["catalogue"])
    def item(item: ItemId) -> s.Item:
        """An item: text, identifier, neighbours in code space."""
        engine = service.engine
        return looking.item(engine, engine.catalogue, item, _NEIGHBOURS)

    async def set_state(item: str, state: s.State) -> s.ItemState:
        catalogue = await service.edit(SetStates({item: state}))
        return s.ItemState(item=item, state=state, generation=catalogue.generation)

    @app.patch("/v1/items/{item:path}", responses=problems(403, 404, 503), tags=["catalogue"])
    async def change_item(item: ItemId, change: s.StateChange) -> s.ItemState:
        """Block an item, delete it, or bring it back."""
        return await set_state(item, change.state)

    @app.delete("/v1/items/{item:path}", responses=problems(403, 404, 503), tags=["catalogue"])
    async def delete_item(item: ItemId) -> s.ItemState:
        """Delete an item; its id and its identifier stay taken."""
        return await set_state(item, "deleted")


def _add_looking(app: FastAPI, service: Service) -> None:
    @app.get("/v1/run", responses=problems(), tags=["explore"])
    def run() -> s.RunInfo:
        """What is served."""
        engine = service.engine
        return looking.run_info(engine, engine.catalogue)

    @app.get("/v1/tree", responses=problems(404), tags=["explore"])
    def tree(
        prefix: Annotated[
            str,
            Query(
                pattern=r"^(\d{1,8}(,\d{1,8}){0,31})?$",
                description="codes from the first level on, as in 12,7",
            ),
        ] = "",
    ) -> s.Tree:
        """The codes that follow a prefix of identifiers, with sample titles."""
        codes = [int(c) for c in prefix.split(",")] if prefix else []
        return s.Tree(**children(service.engine.catalogue, codes))

    @app.get("/v1/map", responses=problems(404), tags=["explore"])
    def embedding_map(
        of: Annotated[
            Literal["items", "codes"],
            Query(description="content embeddings of items, or code embeddings of a level"),
        ] = "items",
        level: Annotated[int, Query(ge=1, le=32, description="of the codes")] = 1,
        points: Annotated[int, Query(ge=1, le=20_000, description="items at most")] = 2_500,
    ) -> s.Map:
        """Embeddings on their first three principal components (the paper's Fig. 7)."""
        engine = service.engine
        return looking.embedding_map(engine, engine.catalogue, of, level, points)


def _add_operating(app: FastAPI, service: Service) -> None:
    @app.post("/v1/reload", responses=problems(403, 409), tags=["operate"])
    async def reload() -> s.RunInfo:
        """Serve the run as it is on the disk now; a run that cannot be served is refused."""
        try:
            engine = await service.reload()
        except LetterRecError as error:
            raise Conflict(f"the run stays as it was: {error}") from error
        return looking.run_info(engine, engine.catalogue)

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
    def metrics() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_page(app: FastAPI) -> None:
    static = resources.files("letterrec.serving") / "static"

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return Response((static / "index.html").read_bytes(), media_type="text/html")

    @app.get("/static/plotly.js", include_in_schema=False)
    def plotly(request: Request) -> Response:
        headers = {"cache-control": "max-age=86400", "vary": "accept-encoding"}
        zipped = "gzip" in request.headers.get("accept-encoding", "")
        if zipped:
            headers["content-encoding"] = "gzip"
        body = _plotly(zipped)
        return Response(body, headers=headers, media_type="text/javascript")

    app.mount("/static", StaticFiles(packages=[("letterrec.serving", "static")]), name="static")


@cache
def _plotly(zipped: bool) -> bytes:
    """Plotly's own script, out of its package."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return gzip.compress(script.encode()) if zipped else script.encode()
