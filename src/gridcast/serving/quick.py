"""Routes that read their body themselves: what the framework does before and after costs more than a forecast."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gridcast.serving.refusals import wrong


class Quick(APIRoute):
    """For endpoints of a JSON body and the request alone; they are described to clients as all others are."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers: the endpoint itself, given its body."""
        assert self.body_field is not None
        kind: Any = self.body_field.field_info.annotation
        endpoint: Any = self.dependant.call

        async def handle(request: Request) -> Response:
            found: Response = await endpoint(await _body(request, kind), request)
            return found

        return handle


async def _body(request: Request, kind: type[BaseModel]) -> BaseModel:
    """The body as `kind`. Raises what the framework does where it is none."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not media.startswith("application/") or not media.endswith(("/json", "+json")):
        raise wrong("is no JSON; send JSON with Content-Type: application/json", "body", "invalid_body")
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([one | {"loc": ("body", *one["loc"])} for one in found]) from None
    except ClientDisconnect:
        raise HTTPException(400) from None
