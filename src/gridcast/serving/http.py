"""Helpers of the endpoints: shared state, responses, times."""

from __future__ import annotations

import datetime as dt
from typing import Any

from fastapi import Request, Security
from fastapi.responses import Response
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic_core import to_json

from gridcast.serving.payloads import schemas
from gridcast.serving.request_context import RequestContext
from gridcast.serving.state import ServiceState

REQUIRES_KEY = [
    Security(APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="key")),
    Security(HTTPBearer(auto_error=False, scheme_name="bearer", description="the same key")),
]
"""Dependencies of a route whose description asks for a key; the middleware checks it."""


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error responses of a route for its description; 401, 422, 429 and 503 are always among them."""
    return {status: {"model": schemas.ErrorResponse} for status in sorted({401, 422, 429, 503, *statuses})}


def state_of(request: Request) -> ServiceState:
    """Return the state of the service that received a request."""
    state: ServiceState = request.scope["service"]
    return state


def context_of(request: Request) -> RequestContext:
    """Return the context of a request."""
    context: RequestContext = request.scope["context"]
    return context


class JsonResponse(Response):
    """A response with a JSON body; it skips the header handling of its base class, which takes longer."""

    def __init__(self, body: bytes, status: int) -> None:
        self.body, self.status_code, self.background = body, status, None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]


def json_response(body: Any, status: int = 200) -> Response:
    """Return a response with `body` as JSON."""
    return JsonResponse(to_json(body), status)


def utc_now() -> dt.datetime:
    """Return the time in UTC, without a time zone."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def iso_time(seconds: float) -> str:
    """Return seconds since 1970 as ISO 8601 text in UTC."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
