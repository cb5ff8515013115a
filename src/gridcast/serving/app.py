"""The application: state, routes, error responses."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from gridcast import __version__
from gridcast.monitoring.prediction_log import PredictionLog
from gridcast.runtime.errors import ConfigError
from gridcast.serving.access_log import AccessLog
from gridcast.serving.admin_token_alarm import AdminTokenAlarm
from gridcast.serving.api_keys import ApiKeys, unavailable
from gridcast.serving.fast_routes import ExceptionHandler, FastEndpoint, FastRoutes
from gridcast.serving.http_errors import HttpError, field_path, internal_error, invalid_input
from gridcast.serving.middleware import AdmissionMiddleware, error_response, log_database_error
from gridcast.serving.models import loading
from gridcast.serving.models.loading import ModelLoader
from gridcast.serving.models.pool import ModelPool
from gridcast.serving.models.shadow import ShadowDeployment
from gridcast.serving.payloads import row_pieces, schemas
from gridcast.serving.prometheus import PrometheusMetrics
from gridcast.serving.rate_limits import TokenBuckets
from gridcast.serving.routes import anomalies, api_keys, forecasts, models, pages
from gridcast.serving.settings import Settings
from gridcast.serving.state import ServiceState
from gridcast.serving.work_queue import WorkQueue

ROUTERS = (models.router, forecasts.router, anomalies.router, api_keys.router)
FAST_ENDPOINTS: dict[str, FastEndpoint] = {
    "/predict": FastEndpoint(schemas.PredictRequest, row_pieces.read_prediction, forecasts.predict),
    "/anomalies": FastEndpoint(schemas.AnomalyRequest, row_pieces.read_detection, anomalies.anomalies),
}
"""The most frequent requests."""
CORES = os.cpu_count() or 1
FRAMEWORK_ERRORS = {
    400: HttpError(422, "invalid_body", "the body cannot be read", where="body"),
    404: HttpError(404, "no_path", "there is no such path"),
    405: HttpError(405, "no_method", "this path has no such method"),
}
"""Error responses in place of those of the framework, by its status."""


def create_application(settings: Settings, load: ModelLoader = loading.load) -> AdmissionMiddleware:
    """Return the application with the given settings, its models loaded by `load`.

    Raises TrackingError if one of them does not exist or cannot be loaded, ConfigError if a detector has a challenger.
    """
    executor = ThreadPoolExecutor(max(2, CORES), "network")
    state = _create_state(settings, load, executor)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.models.start()
        state.shadow.start()
        executor.submit(app.openapi)  # whose first call takes a tenth of a second
        yield
        state.models.close()
        state.shadow.close()
        state.access_log.write()
        executor.shutdown(cancel_futures=True)
        state.small_work.close()
        state.large_work.close()
        state.keys.close()

    app = FastAPI(
        title="gridcast",
        version=__version__,
        description="Forecasts and anomaly scores from registered models. Every path is available under /v1 too.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    for router in ROUTERS:
        app.include_router(router)
        app.include_router(router, prefix="/v1", include_in_schema=False)
    app.add_api_route("/docs", pages.docs_page, include_in_schema=False)
    for error, handler in EXCEPTION_HANDLERS.items():
        app.add_exception_handler(error, handler)
    paths = [route.path for router in ROUTERS for route in router.routes if hasattr(route, "path")]
    fast_routes = FastRoutes(app, FAST_ENDPOINTS, EXCEPTION_HANDLERS)
    return AdmissionMiddleware(fast_routes, state, [*paths, "/docs", "/openapi.json"])


def _create_state(settings: Settings, load: ModelLoader, executor: Executor) -> ServiceState:
    limits, metrics = settings.limits, PrometheusMetrics()
    pool = ModelPool(
        settings.names,
        load,
        executor,
        uri=settings.uri,
        batch_seconds=settings.batch_seconds,
        poll_seconds=settings.poll_seconds,
    )
    for name in settings.shadows:
        if pool.get(name).task == "anomaly":
            raise ConfigError(f"--shadow: '{name}' is an anomaly detector; only forecasters can have a challenger")
    challengers = ModelPool(
        tuple(settings.shadows.values()), load, executor, uri=settings.uri, poll_seconds=settings.poll_seconds
    )
    log = None
    if settings.log_predictions or settings.shadows:
        log = PredictionLog(settings.folder / "kept.db", settings.max_logged_rows)
    return ServiceState(
        settings=settings,
        models=pool,
        shadow=ShadowDeployment(log, challengers, settings.shadows),
        keys=ApiKeys(settings.folder / "keys.db"),
        key_buckets=TokenBuckets(limits.rate, limits.burst),
        address_buckets=TokenBuckets(
            limits.rate if limits.address_rate is None else limits.address_rate,
            limits.burst if limits.address_burst is None else limits.address_burst,
        ),
        metrics=metrics,
        access_log=AccessLog(metrics),
        admin_token_alarm=AdminTokenAlarm(),
        small_work=WorkQueue(CORES, "small"),
        large_work=WorkQueue(max(1, CORES // 2), "large"),  # small requests shall find a core free
        started=time.time(),
    )


async def _on_http_error(_: Request, error: HttpError) -> Response:
    return error_response(error)


async def _on_database_error(request: Request, error: sqlite3.Error) -> Response:
    """Only the key database is asked by endpoints."""
    log_database_error(request.scope["context"], error)
    return error_response(unavailable())


async def _on_exception(_request: Request, _error: Exception) -> Response:
    return error_response(internal_error())


async def _on_framework_error(_: Request, error: HTTPException) -> Response:
    """An error of the framework in the form of the contract."""
    if isinstance(error.detail, HttpError):
        return error_response(error.detail)
    refused = HttpError(error.status_code, "refused", "the request was refused")
    answer = FRAMEWORK_ERRORS.get(error.status_code, refused)
    return error_response(dataclasses.replace(answer, headers=error.headers or {}))


async def _on_invalid_request(_: Request, error: RequestValidationError) -> Response:
    """The first error that validation found, without the input that it quotes."""
    first = error.errors()[0]
    section, *path = first["loc"]
    parameters = {"file", "model", "horizon", "quantiles", "history", "series", "name", "id"}
    known_names = schemas.request_field_names() | parameters
    if first["type"] == "json_invalid":
        return error_response(invalid_input("the body is not valid JSON", "body", "invalid_body"))
    if first["type"] == "extra_forbidden":
        path.pop()  # the name of the field is input
        where = field_path(path, known_names) or str(section)
        return error_response(invalid_input("has an unknown field", where, "unknown_field"))
    message = first["msg"][:1].lower() + first["msg"][1:]
    return error_response(invalid_input(message, field_path(path, known_names) or str(section)))


EXCEPTION_HANDLERS: dict[type[Exception], ExceptionHandler] = {
    Exception: _on_exception,
    HttpError: _on_http_error,
    sqlite3.Error: _on_database_error,
    HTTPException: _on_framework_error,
    RequestValidationError: _on_invalid_request,
}
