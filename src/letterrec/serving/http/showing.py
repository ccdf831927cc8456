"""The routes behind the page: where items are on a map, the run's metrics and its report."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse

from letterrec.serving.fleet import Fleet
from letterrec.serving.http import maps, views
from letterrec.serving.http import schemas as s
from letterrec.serving.http.drawings import Drawings
from letterrec.serving.http.exploring import MapMethod, ModelName
from letterrec.serving.http.middleware import answering
from letterrec.serving.http.problems import problems


def add_showing(app: FastAPI, fleet: Fleet, drawings: Drawings) -> None:
    """Add the routes to the application."""

    @app.get("/v1/map/items", responses=problems(404, 503), tags=["explore"])
    async def get_places(
        http: Request,
        item: Annotated[list[s.Id], Query(max_length=200, description="ids of items")] = [],  # noqa: B006
        method: MapMethod = "pca",
        added: Annotated[
            int, Query(ge=0, le=500, description="also the latest items added after training")
        ] = 0,
        model: ModelName = None,
    ) -> s.Places:
        """Where items are on the map of items; what the catalogue does not have is left out."""
        engine, catalogue, _ = answering(http, fleet.named(model))

        def place() -> s.Places:
            return maps.places(engine, catalogue, item, method, added)

        return await drawings.run(place, slow=method == "tsne")

    @app.get("/v1/evaluation", responses=problems(404), tags=["explore"])
    async def get_evaluation(http: Request, model: ModelName = None) -> s.Evaluation:
        """What the run's evaluation gave."""
        engine = answering(http, fleet.named(model)).engine
        return await drawings.run(lambda: views.evaluation(engine))

    @app.get(
        "/v1/report",
        responses={
            200: {"content": {"text/html": {"schema": {"type": "string"}}}},
            **problems(404),
        },
        response_model=None,
        tags=["explore"],
    )
    async def get_report(http: Request, model: ModelName = None) -> Response:
        """The report that `letterrec report` has written for the run."""
        engine = answering(http, fleet.named(model)).engine
        return HTMLResponse(await drawings.run(lambda: views.report(engine)))
