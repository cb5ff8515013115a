"""Helpers of the endpoints: requests, responses, tables."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from fastapi import Request, Security
from fastapi.responses import Response
from fastapi.security import APIKeyHeader
from pydantic_core import to_json

from gridcast.runtime.errors import DataError
from gridcast.serving import http_errors, json_logging
from gridcast.serving.http_errors import invalid_input
from gridcast.serving.models.served_model import ServedModel
from gridcast.serving.payloads import schemas
from gridcast.serving.request_context import RequestContext
from gridcast.serving.state import LOG, ServiceState

REQUIRES_KEY = [Security(APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="key"))]


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How a route may refuse, for its description; every route may with 401, 429 and 503."""
    return {status: {"model": schemas.ErrorResponse} for status in sorted({401, 422, 429, 503, *statuses})}


def state_of(request: Request) -> ServiceState:
    """The service that a request has come to."""
    found: ServiceState = request.scope["service"]
    return found


def context_of(request: Request) -> RequestContext:
    """What is known of a request."""
    found: RequestContext = request.scope["visit"]
    return found


class JsonResponse(Response):
    """An answer of JSON, made without a look at what else an answer may be."""

    def __init__(self, body: bytes, status: int) -> None:
        self.body, self.status_code, self.background = body, status, None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]


def json_response(body: Any, status: int = 200) -> Response:
    """An answer of JSON."""
    return JsonResponse(to_json(body), status)


def wants_json(request: Request) -> bool:
    """Whether the client asks for JSON where a table comes as CSV."""
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/csv" not in accept


def csv_response(table: pd.DataFrame, told: dict[str, Any]) -> Response:
    """A table as CSV, and what is `told` of the model in its headers."""
    told |= {"beaten_by_baseline": str(told["beaten_by_baseline"]).lower()}
    headers = {f"X-{name.replace('_', '-').title()}": str(value) for name, value in told.items() if value is not None}
    return Response(table.to_csv(index=False), media_type="text/csv", headers=headers)


def utc_now() -> dt.datetime:
    """The time in UTC, without a time zone."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def iso_time(seconds: float) -> str:
    """Seconds since 1970 as clients read them."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")


def read_uploaded_table(content: bytes, reader: Callable[[Path], pd.DataFrame], served: ServedModel) -> pd.DataFrame:
    """The table in a CSV file of any dialect. Raises Refusal (422)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        path.write_bytes(content)
        try:
            return reader(path)
        except DataError as error:
            text = str(error).removeprefix(str(path)).lstrip(", :")
            raise http_errors.from_table_error(text, served.names, "file") from None
        except Exception as error:  # noqa: BLE001 - whatever a parser makes of bytes that are no table
            LOG.info("unreadable", extra={"told": json_logging.exception_fields(error)})
            raise invalid_input(
                "the file cannot be read as a table; give a CSV with a header and rows", "file"
            ) from None
