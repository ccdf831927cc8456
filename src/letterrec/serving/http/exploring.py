"""The routes that show a run: the run itself, its tree of identifiers, maps of its embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import FastAPI, Query, Request, Response

from letterrec.serving.catalogue.tree import children
from letterrec.serving.fleet import Fleet, version_of
from letterrec.serving.http import schemas as s
from letterrec.serving.http import views
from letterrec.serving.http.drawings import Drawings
from letterrec.serving.http.middleware import served_by
from letterrec.serving.http.problems import problems

ModelName = Annotated[
    str | None,
    Query(max_length=s.MAX_NAME, description="which of the served models; without it, the first"),
]


def add_exploring(app: FastAPI, fleet: Fleet, drawings: Drawings) -> None:
    """Add the routes to the application."""

    @app.get("/v1/run", response_model=s.RunInfo, responses=problems(404), tags=["explore"])
    async def get_run(http: Request, model: ModelName = None) -> Response:
        """What is served."""
        service = fleet.named(model)
        engine = service.engine
        catalogue = engine.catalogue
        version = version_of(service, engine, catalogue)
        served_by(http, version)

        def draw() -> bytes:
            return views.run_info(version, engine, catalogue).model_dump_json().encode()

        return (await drawings.get(("run", service.name), catalogue, draw)).response(http)

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
        service = fleet.named(model)
        engine = service.engine
        catalogue = engine.catalogue
        served_by(http, version_of(service, engine, catalogue))

        def draw() -> bytes:
            return s.Tree(**children(catalogue, codes)).model_dump_json().encode()

        key = ("tree", service.name, codes)
        return (await drawings.get(key, catalogue, draw)).response(http)

    @app.get("/v1/map", response_model=s.Map, responses=problems(404), tags=["explore"])
    async def get_map(
        http: Request,
        of: Annotated[
            Literal["items", "codes"],
            Query(description="content embeddings of items, or code embeddings of a level"),
        ] = "items",
        level: Annotated[int, Query(ge=1, le=32, description="of the codes")] = 1,
        points: Annotated[int, Query(ge=1, le=20_000, description="items at most")] = 2_500,
        model: ModelName = None,
    ) -> Response:
        """Embeddings on their first three principal components (the paper's Fig. 7)."""
        service = fleet.named(model)
        engine = service.engine
        catalogue = engine.catalogue
        served_by(http, version_of(service, engine, catalogue))

        def draw() -> bytes:
            return views.embedding_map(engine, catalogue, of, level, points)

        if of == "items":  # only trained items are shown, by the titles that they have now
            key: tuple[object, ...] = ("items", service.name, min(points, catalogue.n_trained))
        else:
            key = ("codes", service.name, level)
        version = catalogue if of == "codes" or catalogue.edited else engine
        return (await drawings.get(key, version, draw)).response(http)
