"""What is served, how it is, and an example to ask."""

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


@router.get(
    "/",
    response_model=schemas.Health,
    responses={200: {"content": {"text/html": {}}}, 429: {"model": schemas.ErrorResponse}},
    tags=["service"],
)
async def health(request: Request) -> Response:
    """Whether all is well, and which versions answer; for browsers a page to try the models on."""
    service = state_of(request)
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(pages.html(keys=not service.settings.open), headers=pages.HEADERS)
    problems = service.models.problems
    body = {
        "status": "degraded" if problems else "ok",
        "models": {
            one.name: {
                "version": one.version,
                "run_id": one.run_id,
                "beaten_by_baseline": one.beaten_by is not None,
            }
            for one in service.models.all()
        },
        "degraded": sorted(problems),
        "uptime_seconds": round(time.time() - service.started, 1),
    }
    return json_response(body)


@router.get(
    "/models", response_model=schemas.ModelList, responses=error_responses(), dependencies=REQUIRES_KEY, tags=["models"]
)
async def models(request: Request) -> Response:
    """The models that are served, what each reads and what is known of it."""
    service = state_of(request)
    return json_response(
        {"models": [_model(one, service.models.problems.get(one.name)) for one in service.models.all()]}
    )


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
    """A request that is answered: the last history that the model's sweep kept of a series, for POST /predict.

    Of a detector, for POST /anomalies, the steps around the highest score of its test span.
    """
    served = state_of(request).models.get(name)
    if series in (None, *served.shown) and served.examples:
        if served.task == "anomaly":
            return json_response({"model": served.name, "rows": served.examples})
        one = next(one for one in served.examples if series in (None, one["id"]))
        return json_response({"model": served.name, "horizon": served.own.horizon, "series": [one]})
    raise HttpError(404, "no_example", "no example of this series is kept", "series")


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **error_responses()},
    dependencies=REQUIRES_KEY,
    tags=["service"],
)
async def metrics(request: Request) -> Response:
    """Counts for Prometheus."""
    service = state_of(request)
    service.book.write()
    return Response(service.counters.text(service.models), media_type="text/plain; version=0.0.4")


def _model(served: ServedModel, problem: str | None) -> dict[str, Any]:
    own, detects = served.own, served.task == "anomaly"
    return {
        "model": served.name,
        "task": served.task,
        "version": served.version,
        "run_id": served.run_id,
        "beaten_by_baseline": served.beaten_by is not None,
        "beaten_by": served.beaten_by,
        "loaded_at": iso_time(served.since),
        "problem": problem,
        "frequency": own.frequency,
        "lookback": own.lookback,
        "horizon": None if detects else own.horizon,
        "quantiles": served.levels,
        "threshold": served.detector.threshold if detects else None,
        "time": own.time,
        "target": None if detects else own.target,
        "keys": () if detects else own.keys,
        "past": own.past,
        "future": own.future_columns,
        "series": own.series,
        "examples": served.shown,
    }
