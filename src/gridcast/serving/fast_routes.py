"""Endpoints that are answered before the framework: what it does before and after costs more than a forecast."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gridcast.serving.http_errors import invalid_input

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send


Endpoint = Callable[[Any, Request], Awaitable[Response]]
ExceptionHandler = Callable[[Request, Any], Awaitable[Response]]


@dataclass(frozen=True)
class FastRoutes:
    """ASGI application before `app`, which has these `endpoints` too, for their description and all other methods.

    Of each path the kind of JSON body that is posted there, and what answers it, given that and the request; what
    they raise is answered by `handlers`.
    """

    app: FastAPI
    endpoints: Mapping[str, tuple[type[BaseModel], Endpoint]]
    handlers: Mapping[type[Exception], ExceptionHandler]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand the request on."""
        found = self.endpoints.get(scope["visit"].path) if scope.get("method") == "POST" else None
        if found is None:
            await self.app(scope, receive, send)
            return
        (kind, endpoint), request = found, Request(scope, receive)
        try:
            answer = await endpoint(await _body(scope, receive, kind), request)
        except (HTTPException, RequestValidationError) as error:
            answer = await self.handlers[type(error)](request, error)
        await answer(scope, receive, send)


async def _body(scope: Scope, receive: Receive, kind: type[BaseModel]) -> BaseModel:
    """The body as `kind`. Raises what the framework does where it is none."""
    media = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if not media.startswith("application/") or not media.endswith(("/json", "+json")):
        raise invalid_input("is no JSON; send JSON with Content-Type: application/json", "body", "invalid_body")
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(400)
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    try:
        return kind.model_validate_json(b"".join(parts))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([one | {"loc": ("body", *one["loc"])} for one in found]) from None
