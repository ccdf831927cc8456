"""The routes for operators: what is served, reload and rollback, probes, metrics."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response

from letterrec.errors import Conflict, LetterRecError, Overloaded
from letterrec.serving.fleet import Fleet, standing
from letterrec.serving.http import schemas as s
from letterrec.serving.http import views
from letterrec.serving.http.exploring import ModelName
from letterrec.serving.http.middleware import answering
from letterrec.serving.http.problems import problems
from letterrec.serving.service import Service


def add_operating(app: FastAPI, fleet: Fleet) -> None:
    """Add the routes to the application."""

    def told(http: Request, service: Service) -> s.RunInfo:
        engine, catalogue, version = answering(http, service)
        return views.run_info(version, engine, catalogue)

    @app.get("/v1/models", responses=problems(), tags=["operate"])
    async def list_models() -> s.ServedModels:
        """The models that are served, and which version each was before."""
        return s.ServedModels(models=[_model(fleet, service) for service in fleet])

    @app.post("/v1/reload", responses=problems(403, 404, 409, 503), tags=["operate"])
    async def reload_run(http: Request, model: ModelName = None) -> s.RunInfo:
        """Serve a run as it is on the disk now, or all of them where no model is named; a run that
        cannot be served is refused.
        """
        named = None if model is None else fleet.named(model).name
        try:
            service = await fleet.reload(named)
        except LetterRecError as error:
            raise Conflict(f"the run stays as it was: {error}") from error
        return told(http, service)

    @app.post("/v1/rollback", responses=problems(403, 404, 409, 503), tags=["operate"])
    async def rollback_run(
        http: Request,
        model: ModelName = None,
        to: Annotated[
            str | None,
            Query(
                max_length=64,
                description="the id of the run that is to be served; one that is served already "
                "stays, so that the request may be repeated",
            ),
        ] = None,
    ) -> s.RunInfo:
        """Serve the version from before the last reload; called again, the later one."""
        service = fleet.changed(model)
        if to is None or to != service.engine.run_id:
            if to is not None and (service.before is None or service.before.run_id != to):
                raise Conflict("this run was not served before; /v1/models says which one was")
            service = await fleet.rollback(model)
        return told(http, service)

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
    async def metrics() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(fleet.metrics.text(), media_type="text/plain; version=0.0.4")


def _model(fleet: Fleet, service: Service) -> s.ServedModel:
    (engine, catalogue, version), before = standing(service), service.before
    return s.ServedModel(
        **version._asdict(),
        share=fleet.share(service.name),
        before=None if before is None else before.run_id,
        name=engine.dataset.name,
        items=catalogue.count("active"),
    )
