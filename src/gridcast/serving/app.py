"""The HTTP service: champions of the registry, asked for forecasts and for anomalies."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from gridcast import __version__
from gridcast.runtime.errors import ConfigError
from gridcast.serving import http_errors
from gridcast.serving.access_log import AccessLog
from gridcast.serving.api_keys import ApiKeys
from gridcast.serving.fast_routes import Endpoint, ExceptionHandler, FastRoutes
from gridcast.serving.http import state_of
from gridcast.serving.http_errors import HttpError, invalid_input
from gridcast.serving.middleware import AdmissionMiddleware, error_response
from gridcast.serving.models import loading
from gridcast.serving.models.loading import ModelLoader
from gridcast.serving.models.pool import ModelPool
from gridcast.serving.models.shadow import ShadowDeployment
from gridcast.serving.payloads import schemas
from gridcast.serving.prometheus import PrometheusMetrics
from gridcast.serving.rate_limits import TokenBuckets
from gridcast.serving.routes import anomalies, api_keys, forecasts, pages
from gridcast.serving.routes.models import router
from gridcast.serving.settings import Settings
from gridcast.serving.state import ServiceState

HTTP_MESSAGES = {400: "the body cannot be read", 404: "there is no such path", 405: "this path has no such method"}
HTTP_CODES = {400: "invalid_body", 404: "no_path", 405: "no_method", 413: "limit_body"}
ROUTERS = (router, forecasts.router, anomalies.router, api_keys.router)
FAST_ENDPOINTS: dict[str, tuple[type[BaseModel], Endpoint]] = {
    "/predict": (schemas.PredictRequest, forecasts.predict),
    "/anomalies": (schemas.AnomalyRequest, anomalies.anomalies),
}
"""What is asked the most."""


def create_application(settings: Settings, load: ModelLoader = loading.load) -> AdmissionMiddleware:
    """The service that `settings` describe, its models loaded by `load`.

    Raises TrackingError where one of them is not there or cannot be loaded.
    """
    pool = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "network")
    models = ModelPool(settings.names, pool, load, uri=settings.uri, gather=settings.gather, poll=settings.poll)
    for name in settings.shadows:
        if models.get(name).task == "anomaly":
            raise ConfigError(f"--shadow: '{name}' tells anomalies; only forecasts are compared with a challenger's")
    challengers = ModelPool(tuple(settings.shadows.values()), pool, load, uri=settings.uri, poll=settings.poll)
    limits, counters = settings.limits, PrometheusMetrics()
    service = ServiceState(
        settings,
        models,
        ApiKeys(settings.folder / "keys.db"),
        counters,
        AccessLog(counters),
        ShadowDeployment(_kept(settings), challengers, settings.shadows),
        TokenBuckets(limits.rate, limits.burst),
        TokenBuckets(limits.rate, limits.burst),
        time.time(),
    )

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        models.start()
        challengers.start()
        yield
        models.close()
        challengers.close()
        service.aside.close()
        service.book.write()
        pool.shutdown(cancel_futures=True)
        service.keys.close()

    own = [route.path for routes in ROUTERS for route in routes.routes if hasattr(route, "path")]
    app = FastAPI(
        title="gridcast",
        version=__version__,
        description="Forecasts and anomalies by the champions of the registry. Every path answers under /v1 too.",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    for routes in ROUTERS:
        app.include_router(routes)
        app.include_router(routes, prefix="/v1", include_in_schema=False)
    app.add_api_route("/docs", pages.documents, include_in_schema=False)
    for kind, handler in EXCEPTION_HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return AdmissionMiddleware(
        FastRoutes(app, FAST_ENDPOINTS, EXCEPTION_HANDLERS), service, [*own, "/docs", "/openapi.json"]
    )


async def _on_refusal(_: Request, refusal: HttpError) -> Response:
    return error_response(refusal)


async def _on_http(request: Request, error: HTTPException) -> Response:
    """What the framework refuses, in the contract's form; 400 is 422 here."""
    status = 422 if error.status_code == 400 else error.status_code
    code = HTTP_CODES.get(error.status_code, "refused")
    most = state_of(request).settings.limits.body
    messages = HTTP_MESSAGES | {413: f"the body has more than {most} bytes; send less at once"}
    where = "body" if code in ("invalid_body", "limit_body") else None
    return error_response(
        HttpError(status, code, messages.get(error.status_code, "refused"), where, error.headers or {})
    )


async def _on_invalid(_: Request, error: RequestValidationError) -> Response:
    """The first thing that is wrong with a request, told without it."""
    first = error.errors()[0]
    kind, *loc = first["loc"]
    known = schemas.request_field_names() | {"file", "model", "horizon", "quantiles", "history", "series", "name", "id"}
    if first["type"] == "json_invalid":
        return error_response(invalid_input("the body is no JSON", "body", "invalid_body"))
    if first["type"] == "extra_forbidden":
        loc.pop()
        return error_response(
            invalid_input(
                "has a field that is not known", http_errors.field_path(loc, known) or str(kind), "unknown_field"
            )
        )
    message = first["msg"][:1].lower() + first["msg"][1:]
    return error_response(invalid_input(message, http_errors.field_path(loc, known) or str(kind)))


EXCEPTION_HANDLERS: dict[type[Exception], ExceptionHandler] = {
    HttpError: _on_refusal,
    HTTPException: _on_http,
    RequestValidationError: _on_invalid,
}


def _kept(settings: Settings) -> Any:
    """Where answers are kept, None where they are not."""
    if not settings.keep and not settings.shadows:
        return None
    from gridcast.monitoring.prediction_log import PredictionLog

    return PredictionLog(settings.folder / "kept.db", settings.kept)
