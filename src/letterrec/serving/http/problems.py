"""How errors become responses: status, message, and entry in the OpenAPI description."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from letterrec.errors import Conflict, LetterRecError, NotFound, Overloaded, RequestError, RunError
from letterrec.serving import queries
from letterrec.serving.fleet import Fleet
from letterrec.serving.http import schemas as s
from letterrec.serving.http.middleware import answering, is_served
from letterrec.serving.telemetry import log

_STATUS: list[tuple[type[LetterRecError], int]] = [
    (NotFound, 404),
    (Conflict, 409),
    (RequestError, 422),
    (Overloaded, 503),
    (RunError, 503),
]
_PATH = re.compile(r"(?<![\w/.])(?!/v1/)(?:/[^\s/:;,'\"()]+)+/(?=[^\s/:;,'\"()])")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: refusals besides 422 that a route may answer."""
    words = {
        400: "The request is not HTTP as it should be, or the body is not JSON",
        401: "There is no token, or a wrong one",
        403: "Not from here",
        404: "There is no such user, item or prefix",
        409: "What is there is in the way: an id that is taken, another request with this key, ...",
        408: "The body did not come in time",
        413: "The body is too large",
        415: "The body is of a type that is not taken here",
        421: "The server is not known by the name in the Host header",
        503: "Too many requests; try again after the seconds of Retry-After",
    }
    always = (400, 401, 408, 413, 415, 421, 503)
    return {n: {"model": s.Problem, "description": words[n]} for n in {*always, *statuses}}


def status_of(error: LetterRecError) -> int:
    """The HTTP status of a refusal."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 422)


def add_error_handlers(app: FastAPI, fleet: Fleet) -> None:
    """Let the application answer errors as `status_of` and `without_paths` say."""

    @app.exception_handler(LetterRecError)
    async def refused(request: Request, error: LetterRecError) -> JSONResponse:
        status = status_of(error)
        headers = {"retry-after": "1"} if status == 503 else None
        _say_who_was_asked(request, fleet)
        if isinstance(error, RunError):
            log.warning("the run's folder", extra={"fields": {"reason": str(error)}})
        detail = without_folders(error, fleet)
        return JSONResponse({"detail": detail}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        _say_who_was_asked(request, fleet, error.body)
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


def _say_who_was_asked(request: Request, fleet: Fleet, body: object = None) -> None:
    """Let a refusal name the model that was asked, where the address or the body names one."""
    named = request.query_params.get("model")
    if named is None and isinstance(body, dict):
        named = body.get("model")
    if isinstance(named, str) and not is_served(request):
        with suppress(NotFound):
            answering(request, fleet.named(named))


def _methods(app: FastAPI, request: Request) -> list[str]:
    """The HTTP methods that the path of a request allows."""
    found = {"OPTIONS"}
    for route in app.routes:
        if isinstance(route, Route) and route.matches(dict(request.scope))[0] != Match.NONE:
            found |= route.methods or set()
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def without_folders(error: LetterRecError, fleet: Fleet) -> str:
    """An error's message for clients, without the folders of what is served."""
    return without_paths(error, *(str(service.engine.folder) for service in fleet))


def without_paths(error: LetterRecError, *folders: str) -> str:
    """An error's message for clients: in one line, without the server's folders.

    >>> without_paths(NotFound("item '/etc/a' is not among the items of /srv/run"), "/srv/run")
    "item '/etc/a' is not among the items of the run"
    >>> without_paths(RunError("/srv/run/data/a.parquet is damaged; see /tmp/b/c"), "/srv/run")
    'data/a.parquet is damaged; see c'
    >>> without_paths(Conflict("it was not served; see /v1/models"))
    'it was not served; see /v1/models'
    """
    text = " ".join(str(error).split())
    for folder in sorted(folders, key=len, reverse=True):
        if folder.startswith("/"):
            text = text.replace(f"{folder}/", "").replace(folder, "the run")
    text = _PATH.sub("", text) if isinstance(error, RunError | Conflict) else text
    return queries.one_line(text)
