"""The routes that recommend, one history or many in a request."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from fastapi import FastAPI, Request, Response
from pydantic import ValidationError

from letterrec.errors import LetterRecError, Overloaded, RequestError
from letterrec.serving import queries
from letterrec.serving.engine import Engine
from letterrec.serving.http import schemas as s
from letterrec.serving.http import views
from letterrec.serving.http.drawings import Drawings
from letterrec.serving.http.middleware import ends_of
from letterrec.serving.http.problems import problems, status_of, without_paths
from letterrec.serving.queries import Prepared
from letterrec.serving.reasons import Account
from letterrec.serving.service import Service

T = TypeVar("T")
_FEW = 500  # ids or recommendations; larger requests are processed on a thread


def add_recommending(app: FastAPI, service: Service, drawings: Drawings) -> None:
    """Add the routes to the application."""

    async def answers_to(
        requests: Sequence[s.RecommendRequest | ValidationError], ends: float
    ) -> list[bytes | LetterRecError]:
        """For each request its answer as JSON, or the error that refused it."""
        engine = service.engine

        async def worked_out(work: Callable[[], T], size: int) -> T:
            """Call ``work`` here, or on a thread if it is large enough to delay other requests."""
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
        (answer,) = await answers_to([request], ends_of(http))
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
        answers = await answers_to(request.parsed(), ends_of(http))
        folder = str(service.engine.folder)
        each = [a if isinstance(a, bytes) else _refused(a, folder) for a in answers]
        body = b'{"answers":[' + b",".join(each) + b"]}"  # a `s.BatchResponse`
        return Response(body, media_type="application/json")


def _ids(request: s.RecommendRequest | ValidationError) -> int:
    """How many ids a request holds."""
    if isinstance(request, ValidationError):
        return 0
    return sum(len(ids or ()) for ids in (request.history, request.allowed, request.blocked))


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
                user=request.user,
                behaviours=_behaviours(engine, request),
                behaviour=request.behaviour,
            )
        )
    except LetterRecError as error:
        return error


def _refused(error: LetterRecError, folder: str) -> bytes:
    """The entry of a batch response for a refused request, as JSON."""
    refusal = s.Refusal(status=status_of(error), detail=without_paths(error, folder))
    return s.Refused(error=refusal).model_dump_json().encode()


def _history(engine: Engine, request: s.RecommendRequest) -> list[str]:
    given = (request.user is not None) + (request.history is not None)
    if given != 1 and not (given == 0 and request.instruction is not None):
        raise RequestError(
            "expected either history (a list of item ids) or user (an id), or an instruction alone"
        )
    if request.user is not None:
        return engine.history_of(request.user)[-s.MAX_HISTORY :]
    return request.history or []


def _behaviours(engine: Engine, request: s.RecommendRequest) -> list[str] | None:
    if request.user is None:
        return request.behaviours
    if request.behaviours is not None:
        raise RequestError("behaviours goes with history: those of a user are known")
    known = engine.behaviours_of(request.user)
    return None if known is None else known[-s.MAX_HISTORY :]


def _response(
    engine: Engine,
    request: s.RecommendRequest,
    query: Prepared,
    answer: list[tuple[int, float]],
    ends: float,
) -> bytes:
    """An answer as JSON; one per call, since a large batch at once would block other threads."""
    if time.monotonic() > ends:
        raise Overloaded("the deadline passed; try again later, or ask for less")
    catalogue, history = engine.catalogue, query.rows
    items = []
    generates = engine.model.generates
    accounts: list[Account] = []
    if request.explain:
        wished = engine.wished(query)
        accounts = engine.reasons.explain(
            catalogue, history, answer, query.behaviours, query.behaviour, wished
        )
    for i, (row, score) in enumerate(answer):
        item = s.Recommendation(
            **views.name(catalogue, row),
            score=score,
            log_probability=score if generates else None,
        )
        if accounts:
            item.recommender = accounts[i].recommender
            item.because = [
                s.Because(
                    **views.name(catalogue, why.row),
                    share=why.share,
                    followed=why.followed,
                    similarity=why.similarity,
                    shared=why.shared,
                )
                for why in accounts[i].reasons
            ]
        items.append(item)
    names = kinds = None
    if request.explain and query.behaviours:
        kinds = [engine.dataset.behaviours[b] for b in query.behaviours]
    if request.explain:
        names = [s.ItemName(**views.name(catalogue, row)) for row in history]
    note = engine.note_on(query)
    response = s.RecommendResponse(
        items=items, history=names, behaviours=kinds, skipped=list(query.skipped), note=note
    )
    return response.model_dump_json().encode()
