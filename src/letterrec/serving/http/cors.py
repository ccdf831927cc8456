"""What browsers are told where a page of another, named site asks (CORS)."""

from __future__ import annotations

from starlette.types import Scope

Headers = list[tuple[bytes, bytes]]
_KEPT = 600  # seconds for which a browser need not ask again
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_SENT = b"authorization, content-type, idempotency-key, x-request-id"
_SEEN = b"retry-after, x-generation, x-model, x-request-id, x-run"


def cors_headers(origin: bytes | None) -> Headers:
    """Headers with which a page of a named origin may read an answer.

    Where origins are named, every answer varies with the origin, also for a request without one: a
    cache would else give it to a page, which could not read it.
    """
    varies = (b"vary", b"origin")
    if origin is None:
        return [varies]
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _SEEN),
        varies,
    ]


def preflight_headers(scope: Scope) -> Headers | None:
    """Headers that answer a browser's question whether a page may ask; None if it is no such
    question.
    """
    names = {name for name, _ in scope["headers"]}
    if scope["method"] != "OPTIONS" or b"access-control-request-method" not in names:
        return None
    return [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _SENT),
        (b"access-control-max-age", str(_KEPT).encode()),
    ]
