"""The routes behind the page: where items are on a map, the run's metrics and its report."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query, Response
from fastapi.responses import HTMLResponse, JSONResponse

from letterrec.serving.http import maps, views
from letterrec.serving.http import schemas as s
from letterrec.serving.http.drawings import Drawings
from letterrec.serving.http.problems import problems
from letterrec.serving.service import Service

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


def add_showing(app: FastAPI, service: Service, drawings: Drawings) -> None:
    """Add the routes to the application."""

    @app.get("/v1/map/items", responses=problems(404, 503), tags=["explore"])
    async def get_places(
        item: Annotated[list[s.Id], Query(max_length=200, description="ids of items")] = [],  # noqa: B006
        method: MapMethod = "pca",
        added: Annotated[
            int, Query(ge=0, le=500, description="also the latest items added after training")
        ] = 0,
    ) -> s.Places:
        """Where items are on the map of items; what the catalogue does not have is left out."""
        engine = service.engine
        catalogue = engine.catalogue

        def place() -> s.Places:
            return maps.places(engine, catalogue, item, method, added)

        return await drawings.run(place, slow=method == "tsne")

    @app.get("/v1/evaluation", responses=problems(404), tags=["explore"])
    async def get_evaluation() -> s.Evaluation:
        """What the run's evaluation gave."""
        engine = service.engine
        return await drawings.run(lambda: views.evaluation(engine))

    @app.get(
        "/v1/report",
        responses={
            200: {"content": {"text/html": {"schema": {"type": "string"}}}},
            **problems(404),
        },
        response_class=HTMLResponse,
        tags=["explore"],
    )
    async def get_report() -> Response:
        """The report that `letterrec report` has written for the run."""
        engine = service.engine
        return HTMLResponse(await drawings.run(lambda: views.report(engine)))
