"""Create, list and revoke API keys."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from gridcast.serving import json_logging
from gridcast.serving.api_keys import ApiKey
from gridcast.serving.http import REQUIRES_KEY, context_of, error_responses, iso_time, json_response, state_of
from gridcast.serving.http_errors import HttpError
from gridcast.serving.payloads import schemas

LOG = logging.getLogger(json_logging.LOGGER_NAME)
SECONDS_PER_DAY = 86400.0
router = APIRouter()


@router.post(
    "/generate_api_key",
    status_code=201,
    response_model=schemas.CreatedApiKey,
    responses=error_responses(403, 413),
    tags=["keys"],
)
async def generate_api_key(
    body: schemas.NewApiKey,
    request: Request,
    x_admin_token: Annotated[str | None, Header()] = None,  # noqa: ARG001 - the middleware has checked it
) -> Response:
    """Create an API key, which only this response contains. X-Admin-Token must be the admin token."""
    state = state_of(request)
    seconds = body.expires_in_days * SECONDS_PER_DAY
    key, text = await asyncio.to_thread(state.keys.create, body.name, seconds, body.scopes)
    LOG.info("key made", extra={"fields": {"request": context_of(request).id, "made": key.id, "scopes": key.scopes}})
    return json_response({"id": key.id, "api_key": text, "expires_at": iso_time(key.expires)}, 201)


@router.get(
    "/api_keys",
    response_model=schemas.ApiKeyList,
    responses=error_responses(403),
    dependencies=REQUIRES_KEY,
    tags=["keys"],
)
async def list_api_keys(request: Request) -> Response:
    """List all keys, without their secrets."""
    return json_response({"keys": [_key_fields(key) for key in await asyncio.to_thread(state_of(request).keys.all)]})


@router.delete(
    "/api_keys/{id}",
    response_model=schemas.ApiKeyInfo,
    responses=error_responses(403, 404),
    dependencies=REQUIRES_KEY,
    tags=["keys"],
)
async def revoke(id: str, request: Request) -> Response:  # noqa: A002 - the name in the contract
    """Revoke a key; it stops working at once."""
    key = await asyncio.to_thread(state_of(request).keys.revoke, id)
    if key is None:
        raise HttpError(404, "no_key", "there is no key with this id, or it is revoked already", where="id")
    LOG.info("key revoked", extra={"fields": {"request": context_of(request).id, "revoked": key.id}})
    return json_response(_key_fields(key))


def _key_fields(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": iso_time(key.created),
        "expires_at": iso_time(key.expires),
        "revoked_at": None if key.revoked is None else iso_time(key.revoked),
    }
