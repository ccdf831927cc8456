"""The routes that show a run: the run itself, its tree of identifiers, maps of its embeddings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse

from letterrec.serving.catalogue.tree import children
from letterrec.serving.fleet import Fleet
from letterrec.serving.http import maps, views
from letterrec.serving.http import schemas as s
from letterrec.serving.http.drawings import Drawings
from letterrec.serving.http.middleware import answering
from letterrec.serving.http.problems import problems

ModelName = Annotated[
    str | None,
    Query(max_length=s.MAX_NAME, description="which of the served models; without it, the first"),
]

MapMethod = Annotated[
    maps.Method,
    Query(
        description="pca: principal components; tsne: in a plane, near ones together, which is "
        "computed once and takes seconds (202 until then)"
    ),
]
NOT_YET: dict[int | str, dict[str, Any]] = {
    202: {"model": s.Problem, "description": "It is being computed; ask again in a second"}
}


def not_yet() -> Response:
    """The answer while something is being computed."""
    detail = "this is being computed; ask again in a second"
    return JSONResponse({"detail": detail}, 202, {"retry-after": "1"})


def add_exploring(app: FastAPI, fleet: Fleet, drawings: Drawings) -> None:
    """Add the routes to the application."""

    @app.get("/v1/run", response_model=s.RunInfo, responses=problems(404), tags=["explore"])
    async def get_run(http: Request, model: ModelName = None) -> Response:
        """What is served."""
        engine, catalogue, version = answering(http, fleet.named(model))

        def draw() -> bytes:
            return views.run_info(version, engine, catalogue).model_dump_json().encode()

        return (await drawings.get(("run", version.model), catalogue, draw)).response(http)

    @app.get("/v1/tree", response_model=s.Tree, responses=problems(404), tags=["explore"])
    async def get_tree(
        http: Request,
        prefix: Annotated[
            str,
            Query(
                pattern=r"^([0-9]{1,8}(,[0-9]{1,8}){0,31})?$",
                description="codes from the first level on, as in 12,7",
            ),
        ] = "",
        model: ModelName = None,
    ) -> Response:
        """The codes that follow a prefix of identifiers, with sample titles."""
        codes = tuple(int(c) for c in prefix.split(",")) if prefix else ()
        _, catalogue, version = answering(http, fleet.named(model))

        def draw() -> bytes:
            return s.Tree(**children(catalogue, codes)).model_dump_json().encode()

        key = ("tree", version.model, codes)
        return (await drawings.get(key, catalogue, draw)).response(http)

    @app.get("/v1/map", response_model=s.Map, responses=problems(404) | NOT_YET, tags=["explore"])
    async def get_map(
        http: Request,
        of: Annotated[
            Literal["items", "codes"],
            Query(description="content embeddings of items, or code embeddings of a level"),
        ] = "items",
        level: Annotated[int, Query(ge=1, le=32, description="of the codes")] = 1,
        points: Annotated[int, Query(ge=1, le=20_000, description="items at most")] = 2_500,
        method: MapMethod = "pca",
        model: ModelName = None,
    ) -> Response:
        """Embeddings in space (principal components; the paper's Fig. 7) or in a plane."""
        engine, catalogue, version = answering(http, fleet.named(model))

        def draw() -> bytes:
            return maps.embedding_map(engine, catalogue, of, level, points, method)

        if of == "items":  # only trained items are shown, by the titles that they have now
            key = ("items", version.model, min(points, catalogue.n_trained), method)
        else:
            key = ("codes", version.model, level, method)
        drawn_of = catalogue if of == "codes" or catalogue.edited else engine
        drawn = drawings.soon if method == "tsne" else drawings.get
        body = await drawn(key, drawn_of, draw)
        return not_yet() if body is None else body.response(http)
