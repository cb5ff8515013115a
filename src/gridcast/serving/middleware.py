"""Admission of requests before their body is read: rates, keys, sizes, time limits; and their access log entry."""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import sqlite3
import time
from collections.abc import Sequence

from pydantic_core import to_json
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gridcast.serving import api_keys, client_addresses, json_logging, web_origins
from gridcast.serving.bodies import Body, OpenBodies, body_too_large
from gridcast.serving.http_errors import HttpError, internal_error
from gridcast.serving.rate_limits import check_wait
from gridcast.serving.request_context import RequestContext
from gridcast.serving.state import ServiceState

LOG = logging.getLogger(json_logging.LOGGER_NAME)
NEW_KEY_PATH = "/generate_api_key"
PROBE_PATHS = ("/healthz", "/readyz")
"""Paths for the programs that watch the service, which are not to be refused."""
OPEN_PATHS = ("/", "/docs", "/openapi.json", NEW_KEY_PATH, *PROBE_PATHS)
"""Paths that need no key; that of new keys needs the admin token."""
ADMIN_PATH = "/api_keys"
ANY_SCOPE_PATHS = ("/models", "/metrics")
"""Paths that a key of any scope opens."""
LIMITED_PATHS = ("/predict", "/predict_csv", "/anomalies", "/anomalies_csv")
"""Paths that count for the limit of concurrent requests."""
CORS_HEADERS = ("Authorization", "Content-Type", "X-API-Key")
"""Request headers that web pages of other sites may send."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


class AdmissionMiddleware:
    """ASGI middleware around the application `app`, whose declared paths are `paths`."""

    def __init__(self, app: ASGIApp, state: ServiceState, paths: Sequence[str]) -> None:
        self.app, self.state, self.paths = app, state, frozenset(paths)
        self.in_progress = 0
        """Requests to LIMITED_PATHS that are being worked on."""
        self.in_progress_by_client: collections.Counter[str] = collections.Counter()
        self.bodies = OpenBodies(state.settings.door)
        self._entry: ASGIApp = self._answer
        if origins := state.settings.cors_origins:
            self._entry = CORSMiddleware(
                self._answer, origins, allow_methods=["GET", "POST", "DELETE"], allow_headers=CORS_HEADERS
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._entry(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        root = self.state.settings.root_path
        # Some proxies remove the path under which they publish the service, some do not.
        path = scope["path"].removeprefix(root) or "/" if f"{scope['path']}/".startswith(f"{root}/") else scope["path"]
        scope["root_path"], scope["path"] = root, root + path
        path = unversioned(path)
        context = RequestContext(
            id=os.urandom(8).hex(),
            started=time.perf_counter(),
            path=path,
            route=self._route(path),
            address=self._address(scope),
        )
        scope["context"], scope["service"] = context, self.state
        status, is_complete = 0, False

        async def respond(message: Message) -> None:
            nonlocal status, is_complete
            is_complete = message["type"] == "http.response.body" and not message.get("more_body")
            if message["type"] == "http.response.start":
                status = message["status"]
                more = [(b"x-request-id", context.id.encode()), (b"x-content-type-options", b"nosniff")]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        try:
            await self._admit(scope, receive, respond)
        except HttpError as error:
            if status:  # part of the answer is sent
                raise
            await error_response(error)(scope, receive, respond)
        except sqlite3.Error as error:
            log_database_error(context, error)
            await error_response(api_keys.unavailable())(scope, receive, respond)
        except asyncio.CancelledError:
            status = status or 499  # the client closed the connection
            raise
        except Exception as error:
            LOG.error("failed", extra={"fields": {"request": context.id, **json_logging.exception_fields(error)}})  # noqa: TRY400
            if is_complete:  # the framework answers, and raises the exception all the same
                return
            if status:
                raise
            await error_response(internal_error())(scope, receive, respond)
        finally:
            has_token = any(name == b"x-admin-token" for name, _ in scope["headers"])
            if context.path == NEW_KEY_PATH and status == 401 and has_token:
                self.state.admin_token_alarm.add(context.address or "unknown")
            self.state.access_log.add(context, scope["method"] if scope["method"] in METHODS else "other", status)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on once it is admitted. Raises HttpError."""
        context: RequestContext = scope["context"]
        limits = self.state.settings.limits
        headers = dict(reversed(scope["headers"]))  # if a header is repeated, the first one counts
        if context.path not in PROBE_PATHS:
            group = client_addresses.rate_group(context.address or "unknown")
            check_wait(self.state.address_buckets.take(group), "address")
        await self._check_access(scope, headers)
        length = headers.get(b"content-length", b"0")
        is_limited = context.path in LIMITED_PATHS
        max_bytes = limits.body if is_limited else min(limits.body, self.state.settings.door.other_body)
        if length.isdigit() and int(length) > max_bytes:
            raise body_too_large(max_bytes)
        if is_limited and self.in_progress >= limits.concurrent:
            text = f"{limits.concurrent} requests are already in progress; try again in a moment"
            raise HttpError(503, "busy", text, headers={"Retry-After": "1"})
        if is_limited and self.in_progress_by_client[context.client] >= limits.concurrent_by_client:
            text = f"{limits.concurrent_by_client} requests of this client are in progress; try again in a moment"
            raise HttpError(503, "busy", text, headers={"Retry-After": "1"})
        self.in_progress += is_limited
        self.in_progress_by_client[context.client] += is_limited
        body = Body(receive, self.bodies, context.client, max_bytes)
        try:
            async with asyncio.timeout(limits.seconds):
                await self.app(scope, body.receive, send)
        except TimeoutError:
            text = f"no response within {limits.seconds:g} s; send a smaller request"
            raise HttpError(503, "timeout", text) from None
        finally:
            self.in_progress -= is_limited
            body.release()
            self.in_progress_by_client[context.client] -= is_limited
            if not self.in_progress_by_client[context.client]:
                del self.in_progress_by_client[context.client]

    def _address(self, scope: Scope) -> str:
        """The address of the client, as far as it is known."""
        peer = scope["client"][0] if scope.get("client") else "unknown"
        return client_addresses.client_address(peer, scope["headers"], self.state.settings.trusted_proxies)

    async def _check_access(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Raise HttpError unless the service is open to this machine, or the request has a key for its path."""
        context: RequestContext = scope["context"]
        if self.state.settings.is_open:
            web_origins.require_local_page(headers, self.state.settings.cors_origins)
        elif context.path not in OPEN_PATHS:
            await self._check_key(context, api_keys.key_text(headers))
        if context.path == NEW_KEY_PATH and scope["method"] == "POST":
            api_keys.require_admin_token(headers.get(b"x-admin-token"), self.state.settings.token)

    async def _check_key(self, context: RequestContext, text: str) -> None:
        """Raise HttpError unless `text` is a key that opens the path of the request."""
        if not text:
            raise api_keys.missing_key()
        key = await self.state.keys.verify_soon(text)
        context.key = key.id
        check_wait(self.state.key_buckets.take(key.id), "key")
        if context.path not in ANY_SCOPE_PATHS and not context.path.startswith("/models/"):
            is_admin_path = context.path == ADMIN_PATH or context.path.startswith(f"{ADMIN_PATH}/")
            api_keys.require_scope(key, api_keys.ADMIN_SCOPE if is_admin_path else api_keys.PREDICT_SCOPE)

    def _route(self, path: str) -> str:
        """The path as it is declared; anything else that a client may type there stays out of the log."""
        if path in self.paths:
            return path
        if path.startswith(f"{ADMIN_PATH}/"):
            return f"{ADMIN_PATH}/{{id}}"
        return "/models/{name}/example" if path.startswith("/models/") else "unknown"


def unversioned(path: str) -> str:
    """Return the path without its prefix /v1, if it has one."""
    return path.removeprefix("/v1") or "/" if path == "/v1" or path.startswith("/v1/") else path


def log_database_error(context: RequestContext, error: sqlite3.Error) -> None:
    """Log that the key database cannot be read or written."""
    LOG.error("keys", extra={"fields": {"request": context.id, **json_logging.exception_fields(error)}})


def error_response(error: HttpError) -> Response:
    """Return the HTTP response of an error."""
    return Response(to_json(error.body), error.status, dict(error.headers), "application/json")
