"""The routes that recommend, one history or many in a request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fastapi import FastAPI, Request, Response
from pydantic import ValidationError

from letterrec.errors import LetterRecError, Overloaded, RequestError
from letterrec.serving import queries
from letterrec.serving.engine import Engine
from letterrec.serving.fleet import Fleet, Standing, Version, standing
from letterrec.serving.http import schemas as s
from letterrec.serving.http import views
from letterrec.serving.http.drawings import Drawings
from letterrec.serving.http.exploring import ModelName
from letterrec.serving.http.middleware import ends_of, served_by
from letterrec.serving.http.problems import problems, status_of, without_folders
from letterrec.serving.queries import Answered, Prepared
from letterrec.serving.reasons import Account
from letterrec.serving.service import Service

T = TypeVar("T")
_FEW = 500  # ids or recommendations; larger requests are processed on a thread


@dataclass(frozen=True)
class _Asked:
    """A request that was prepared, and which model is to answer it."""

    service: Service
    query: Prepared


@dataclass(frozen=True)
class _Declined:
    """Why a request was refused, and which model was to answer it; None if that is not known."""

    service: Service | None
    error: LetterRecError


def add_recommending(app: FastAPI, fleet: Fleet, drawings: Drawings) -> None:
    """Add the routes to the application."""

    async def worked_out(work: Callable[[], T], size: int) -> T:
        """Call ``work`` here, or on a thread if it is large enough to delay other requests."""
        return work() if size <= _FEW else await drawings.run(work)

    async def answers_to(
        requests: Sequence[s.RecommendRequest | ValidationError], model: str | None, ends: float
    ) -> tuple[list[bytes | LetterRecError], list[Version]]:
        """For each request its answer as JSON, or the error that refused it; and what answered.

        Args:
            requests: what is asked.
            model: which is asked, where a request does not say.
            ends: the deadline.
        """
        engines = {service.name: service.engine for service in fleet}  # also for the whole batch
        asked = await worked_out(
            lambda: [_asked(fleet, engines, request, model) for request in requests],
            sum(map(_ids, requests)),
        )
        found: dict[int, Answered] = {}
        services = dict.fromkeys(each.service for each in asked if each.service is not None)
        for service in services:
            own = {
                i: each.query
                for i, each in enumerate(asked)
                if each.service is service and isinstance(each, _Asked)
            }
            if own:
                engine = engines[service.name]
                answers = await service.batcher.answer(engine, list(own.values()), ends)
                found |= dict(zip(own, answers, strict=True))
                fleet.metrics.answers.labels(service.name, engine.run_id).inc(len(own))

        # Looked up after the searches, which may have found items that were added meanwhile.
        now = {each.name: standing(each, engines[each.name]) for each in services}

        def responses() -> list[bytes | LetterRecError]:
            return [
                _response(now[each.service.name], each.query, found[i], ends)
                if isinstance(each, _Asked)
                else each.error
                for i, each in enumerate(asked)
            ]

        explained = any(isinstance(each, _Asked) and each.query.explain for each in asked)
        size = _FEW + 1 if explained else sum(len(answer.items) for answer in found.values())
        return await worked_out(responses, size), [each.version for each in now.values()]

    @app.post(
        "/v1/recommend",
        response_model=s.RecommendResponse,
        responses=problems(404, 503),
        tags=["recommend"],
    )
    async def recommend(
        request: s.RecommendRequest, http: Request, model: ModelName = None
    ) -> Response:
        """The best next items for a history, or for a user of the run."""
        (answer,), versions = await answers_to([request], model, ends_of(http))
        served_by(http, *versions)
        if isinstance(answer, LetterRecError):
            raise answer
        return Response(answer, media_type="application/json")

    @app.post(
        "/v1/recommend/batch",
        response_model=s.BatchResponse,
        responses=problems(503),
        tags=["recommend"],
    )
    async def recommend_batch(
        request: s.BatchRequest, http: Request, model: ModelName = None
    ) -> Response:
        """The same for several requests at once: an answer or an error for each."""
        answers, versions = await answers_to(request.parsed(), model, ends_of(http))
        served_by(http, *versions)
        each = [a if isinstance(a, bytes) else _refused(a, fleet) for a in answers]
        one = versions[0]._asdict() if len(versions) == 1 else {}
        head = s.BatchResponse(answers=[], **one).model_dump_json(exclude={"answers"}).encode()
        body = head[:-1] + b',"answers":[' + b",".join(each) + b"]}"  # a `s.BatchResponse`
        return Response(body, media_type="application/json")


def _ids(request: s.RecommendRequest | ValidationError) -> int:
    """How many ids a request holds."""
    if isinstance(request, ValidationError):
        return 0
    return sum(len(ids or ()) for ids in (request.history, request.allowed, request.blocked))


def _asked(
    fleet: Fleet,
    engines: Mapping[str, Engine],
    request: s.RecommendRequest | ValidationError,
    model: str | None,
) -> _Asked | _Declined:
    service = fleet.only
    if isinstance(request, ValidationError):
        return _Declined(service, RequestError(s.why_invalid(request.errors())))
    try:
        name = _name_of(request, model)
        service = fleet.chosen(name, request.split_key or request.user)
        return _Asked(service, _prepared(engines[service.name], request))
    except LetterRecError as error:
        return _Declined(service, error)


def _name_of(request: s.RecommendRequest, model: str | None) -> str | None:
    """The model that is asked, by the body or by the address."""
    if model is not None and request.model not in (None, model):
        raise RequestError("the address asks another model than the body; name it once")
    return model if request.model is None else request.model


def _prepared(engine: Engine, request: s.RecommendRequest) -> Prepared:
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
            where=request.where,
            behaviours=_behaviours(engine, request),
            behaviour=request.behaviour,
            domain=request.domain,
            explain=request.explain,
        )
    )


def _refused(error: LetterRecError, fleet: Fleet) -> bytes:
    """The entry of a batch response for a refused request, as JSON."""
    refusal = s.Refusal(status=status_of(error), detail=without_folders(error, fleet))
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


def _response(now: Standing, query: Prepared, answer: Answered, ends: float) -> bytes:
    """An answer as JSON; one per call, since a large batch at once would block other threads."""
    if time.monotonic() > ends:
        raise Overloaded("the deadline passed; try again later, or ask for less")
    engine, catalogue, version = now
    history = query.rows
    items = []
    generates = engine.model.generates
    accounts: list[Account] = []
    names = behaviours = None
    if query.explain:
        accounts = engine.reasons.explain(
            catalogue, history, answer.items, query.behaviours, query.behaviour, answer.wished
        )
        names = [s.ItemName(**views.name(catalogue, row)) for row in history]
        if query.behaviours:
            behaviours = [engine.dataset.behaviours[b] for b in query.behaviours]
    for i, (row, score) in enumerate(answer.items):
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
    response = s.RecommendResponse(
        **version._asdict(),
        items=items,
        history=names,
        behaviours=behaviours,
        next_behaviour=answer.next_behaviour,
        skipped=list(query.skipped),
        note=answer.note,
    )
    return response.model_dump_json().encode()
