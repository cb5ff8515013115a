"""Health, the served models with an example request for each, and metrics."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from gridcast.serving.http import REQUIRES_KEY, error_responses, iso_time, json_response, state_of
from gridcast.serving.http_errors import HttpError
from gridcast.serving.models.served_model import ServedModel
from gridcast.serving.payloads import schemas
from gridcast.serving.routes import pages

router = APIRouter()


@router.head("/", include_in_schema=False)
@router.get(
    "/",
    response_model=schemas.Health,
    responses={200: {"content": {"text/html": {}}}, 429: {"model": schemas.ErrorResponse}},
    tags=["service"],
)
async def health(request: Request) -> Response:
    """Return the health of the service and the served versions; browsers get a page to try the models on."""
    state = state_of(request)
    if "text/html" in request.headers.get("accept", ""):
        page = pages.try_page(needs_key=not state.settings.is_open, root_path=state.settings.root_path)
        return HTMLResponse(page, headers=pages.SECURITY_HEADERS)
    problems = state.models.problems
    body = {
        "status": "degraded" if problems else "ok",
        "models": {
            served.name: {
                "version": served.version,
                "run_id": served.run_id,
                "beaten_by_baseline": served.beaten_by is not None,
            }
            for served in state.models.all()
        },
        "degraded": sorted(problems),
        "uptime_seconds": round(time.time() - state.started, 1),
    }
    return json_response(body)


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", response_model=schemas.ProbeAnswer, tags=["service"])
async def healthz() -> Response:
    """Say that the service lives; needs no key and is never refused."""
    return json_response({"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    response_model=schemas.ProbeAnswer,
    responses={503: {"model": schemas.ErrorResponse}},
    tags=["service"],
)
async def readyz(request: Request) -> Response:
    """Say that the service can answer: its models are loaded, and its keys can be read."""
    state = state_of(request)
    if not state.settings.is_open and not await state.small_work.run("", state.keys.are_readable):
        raise HttpError(503, "not_ready", "the key database does not respond", headers={"Retry-After": "1"})
    return json_response({"status": "ok"})


@router.get(
    "/models",
    response_model=schemas.ModelList,
    responses=error_responses(),
    dependencies=REQUIRES_KEY,
    tags=["models"],
)
async def list_models(request: Request) -> Response:
    """List the served models and their inputs."""
    models = state_of(request).models
    return json_response({"models": [_model_fields(one, models.problems.get(one.name)) for one in models.all()]})


@router.get(
    "/models/{name}/example",
    response_model=schemas.PredictRequest | schemas.AnomalyRequest,
    responses=error_responses(404),
    dependencies=REQUIRES_KEY,
    tags=["models"],
)
async def example(
    request: Request, name: str, series: Annotated[str | None, Query(max_length=1000)] = None
) -> Response:
    """Return an example request: for POST /predict the last history of a series that the model's sweep stored.

    For a detector it is one for POST /anomalies, with the steps around the highest score of the test span.
    """
    served = state_of(request).models.get(name)
    if not served.examples or series not in (None, *served.example_ids):
        raise HttpError(404, "no_example", "no example of this series is stored", where="series")
    if served.task == "anomaly":
        return json_response({"model": served.name, "rows": served.examples})
    chosen = next(one for one in served.examples if series in (None, one["id"]))
    return json_response({"model": served.name, "horizon": served.preprocessing.horizon, "series": [chosen]})


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **error_responses()},
    dependencies=REQUIRES_KEY,
    tags=["service"],
)
async def metrics(request: Request) -> Response:
    """Return the metrics in the text format of Prometheus."""
    state = state_of(request)
    state.access_log.write()  # counts the requests that it still holds
    return Response(state.metrics.render(state.models), media_type="text/plain; version=0.0.4")


def _model_fields(served: ServedModel, problem: str | None) -> dict[str, Any]:
    preprocessing, is_detector = served.preprocessing, served.task == "anomaly"
    return {
        "model": served.name,
        "task": served.task,
        "version": served.version,
        "run_id": served.run_id,
        "beaten_by_baseline": served.beaten_by is not None,
        "beaten_by": served.beaten_by,
        "loaded_at": iso_time(served.loaded_at),
        "problem": problem,
        "frequency": preprocessing.frequency,
        "lookback": preprocessing.lookback,
        "horizon": None if is_detector else preprocessing.horizon,
        "quantiles": served.levels,
        "threshold": served.detector.threshold if is_detector else None,
        "time": preprocessing.time,
        "target": None if is_detector else preprocessing.target,
        "keys": () if is_detector else preprocessing.keys,
        "past": preprocessing.past,
        "future": preprocessing.future_columns,
        "series": preprocessing.series,
        "examples": served.example_ids,
    }
