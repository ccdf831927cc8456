"""The OpenAPI description: who may ask what, and where."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from letterrec.serving.http.admission import PROBES, reads

_SCHEMES = {
    "readToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "a token that may read and recommend",
    },
    "adminToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "a token that may also change the catalogue and what is served",
    },
}


def described(app: FastAPI, tokens: bool, root_path: str) -> dict[str, Any]:
    """The description of an application.

    Args:
        app: with all its routes.
        tokens: whether clients must bring one.
        root_path: the path under which a proxy has the server.
    """
    document = app.openapi()
    document["components"]["securitySchemes"] = _SCHEMES
    if root_path:
        document["servers"] = [{"url": root_path}]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            operation["security"] = _security(path, method, tokens)
    return document


def _security(path: str, method: str, tokens: bool) -> list[dict[str, list[str]]]:
    """What an operation asks for: one of these; nothing where an empty one is among them."""
    if path in PROBES:
        return []
    schemes: list[dict[str, list[str]]] = [{"adminToken": []}]
    if reads(method.upper(), path):
        schemes.append({"readToken": []})
    return schemes if tokens else [*schemes, {}]
