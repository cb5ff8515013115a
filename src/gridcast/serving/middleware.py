"""What every request passes before it is read: rates, keys, sizes, time; and what is written down of it."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gridcast.serving import api_keys, json_logging
from gridcast.serving.http_errors import HttpError
from gridcast.serving.request_context import RequestContext
from gridcast.serving.settings import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gridcast.serving.state import ServiceState


LOG = logging.getLogger(json_logging.LOGGER_NAME)
OPEN_PATHS = ("/", "/docs", "/openapi.json", "/generate_api_key")
"""Paths that need no key; the last one needs the admin token."""
ADMIN_PATH = "/api_keys"
ANY_SCOPE_PATHS = ("/models", "/metrics")
"""Paths that any key opens."""
LIMITED_PATHS = ("/predict", "/predict_csv", "/anomalies", "/anomalies_csv")
"""Paths of which only so many requests are worked on at once."""


class AdmissionMiddleware:
    """ASGI middleware around the application of a `service`."""

    def __init__(self, app: ASGIApp, service: ServiceState, paths: Sequence[str]) -> None:
        self.app, self.service, self.paths = app, service, frozenset(paths)
        self.working = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with a refusal."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = unversioned(scope["path"])
        visit = RequestContext(os.urandom(8).hex(), time.perf_counter(), path, self._route(path))
        scope["visit"], scope["service"] = visit, self.service
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [(b"x-request-id", visit.id.encode()), (b"x-content-type-options", b"nosniff")]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        try:
            await self._admitted(scope, receive, answer, visit)
        except HttpError as refusal:
            await error_response(refusal)(scope, receive, answer)
        except asyncio.CancelledError:
            status = status or 499  # the client has gone
            raise
        except Exception as error:
            LOG.error("failed", extra={"told": {"request": visit.id, **json_logging.exception_fields(error)}})  # noqa: TRY400
            if status:
                raise
            text = "the service failed; its log tells more under this request's id"
            await error_response(HttpError(500, "internal", text))(scope, receive, answer)
        finally:
            self.service.book.add(visit, _method(scope), status)

    async def _admitted(self, scope: Scope, receive: Receive, send: Send, visit: RequestContext) -> None:
        """Pass the request on once it may be answered. Raises Refusal."""
        service, limits = self.service, self.service.settings.limits
        headers = dict(reversed(scope["headers"]))  # of several of one name the first counts
        address = scope["client"][0] if scope.get("client") else "unknown"
        self._not_too_often(service.addresses.wait(address), "address")
        if service.settings.open:
            if not is_loopback(headers.get(b"host", b"").decode("latin-1").rsplit(":", 1)[0].strip("[]")):
                raise HttpError(403, "not_local", "this service is open to this machine alone; ask it as 127.0.0.1")
        elif visit.path not in OPEN_PATHS:
            self._known(visit, headers.get(b"x-api-key", b"").decode("latin-1"))
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > limits.body:
            raise _too_large(limits.body)
        working = visit.path in LIMITED_PATHS
        if working and self.working >= limits.concurrent:
            text = f"{limits.concurrent} requests are being worked on; try again in a moment"
            raise HttpError(503, "busy", text, headers={"Retry-After": "1"})
        self.working += working
        try:
            async with asyncio.timeout(limits.seconds):
                await self.app(scope, _counted(receive, limits.body), send)
        except TimeoutError:
            raise HttpError(503, "timeout", f"no answer within {limits.seconds:g} s; ask for less at once") from None
        finally:
            self.working -= working

    def _known(self, visit: RequestContext, text: str) -> None:
        """Refuse a request without a key that opens its path."""
        if not text:
            raise api_keys.missing_key()
        try:
            key = self.service.keys.verified(text)
            visit.key = key.id
            self._not_too_often(self.service.own.wait(key.id), "key")
            if visit.path not in ANY_SCOPE_PATHS and not visit.path.startswith("/models/"):
                admin = visit.path == ADMIN_PATH or visit.path.startswith(f"{ADMIN_PATH}/")
                api_keys.require_scope(key, api_keys.ADMIN_SCOPE if admin else api_keys.PREDICT_SCOPE)
        except sqlite3.Error as error:
            LOG.error("keys", extra={"told": {"request": visit.id, **json_logging.exception_fields(error)}})  # noqa: TRY400
            text = "the store of keys gives no answer; try again in a moment"
            raise HttpError(503, "keys_unavailable", text, headers={"Retry-After": "1"}) from None

    @staticmethod
    def _not_too_often(wait: float, who: str) -> None:
        if wait:
            text = f"too many requests of this {who}; try again in {wait:.2f} s"
            raise HttpError(429, f"rate_{who}", text, headers={"Retry-After": str(int(wait) + 1)})

    def _route(self, path: str) -> str:
        """The path as it is declared: what else somebody may have typed there is not written down."""
        if path in self.paths:
            return path
        if path.startswith(f"{ADMIN_PATH}/"):
            return f"{ADMIN_PATH}/{{id}}"
        return "/models/{name}/example" if path.startswith("/models/") else "unknown"


def unversioned(path: str) -> str:
    """The path without the /v1 that it may begin with."""
    return path.removeprefix("/v1") or "/" if path == "/v1" or path.startswith("/v1/") else path


def error_response(refusal: HttpError) -> Response:
    """A refusal as an HTTP answer."""
    return Response(to_json(refusal.body), refusal.status, dict(refusal.headers), "application/json")


def _method(scope: Scope) -> str:
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
    return scope["method"] if scope["method"] in known else "other"


def _too_large(most: int) -> HttpError:
    return HttpError(413, "limit_body", f"the body has more than {most} bytes; send less at once", "body")


def _counted(receive: Receive, most: int) -> Receive:
    """`receive` that gives no more than so many bytes."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise HTTPException(413)  # the kind that FastAPI lets through while it reads a body
        return message

    return counted
