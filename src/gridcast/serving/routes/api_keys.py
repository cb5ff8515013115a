"""Create, list and revoke API keys."""

from __future__ import annotations

import hmac
import logging
import sqlite3
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from gridcast.serving import json_logging
from gridcast.serving.api_keys import ApiKey, keys_unavailable
from gridcast.serving.http import REQUIRES_KEY, context_of, error_responses, iso_time, json_response, state_of
from gridcast.serving.http_errors import HttpError
from gridcast.serving.payloads import schemas

LOG = logging.getLogger(json_logging.LOGGER_NAME)
SECONDS_PER_DAY = 86400.0
T = TypeVar("T")
router = APIRouter()


@router.post(
    "/generate_api_key",
    status_code=201,
    response_model=schemas.CreatedApiKey,
    responses=error_responses(403, 413),
    tags=["keys"],
)
async def generate_api_key(
    body: schemas.NewApiKey, request: Request, x_admin_token: Annotated[str | None, Header()] = None
) -> Response:
    """Create an API key, which only this response contains. X-Admin-Token must be the admin token."""
    state = state_of(request)
    token = state.settings.token
    if token is None:
        raise HttpError(403, "open", "this service is open: it needs no keys and creates none")
    if x_admin_token is None:
        text = "give the admin token in the header X-Admin-Token"
        raise HttpError(401, "token_missing", text, where="X-Admin-Token")
    if not hmac.compare_digest(x_admin_token.encode(), token.encode()):
        raise HttpError(401, "token_wrong", "X-Admin-Token is not the admin token", where="X-Admin-Token")
    seconds = body.expires_in_days * SECONDS_PER_DAY
    key, text = await _in_thread(request, lambda: state.keys.create(body.name, seconds, body.scopes))
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
    keys = await _in_thread(request, state_of(request).keys.all)
    return json_response({"keys": [_key_fields(key) for key in keys]})


@router.delete(
    "/api_keys/{id}",
    response_model=schemas.ApiKeyInfo,
    responses=error_responses(403, 404),
    dependencies=REQUIRES_KEY,
    tags=["keys"],
)
async def revoke(id: str, request: Request) -> Response:  # noqa: A002 - the name in the contract
    """Revoke a key; it stops working at once."""
    key = await _in_thread(request, lambda: state_of(request).keys.revoke(id))
    if key is None:
        raise HttpError(404, "no_key", "there is no key with this id, or it is revoked already", where="id")
    LOG.info("key revoked", extra={"fields": {"request": context_of(request).id, "revoked": key.id}})
    return json_response(_key_fields(key))


async def _in_thread(request: Request, work: Callable[[], T]) -> T:
    """The result of `work` on the key database, which may be locked for seconds. Raises HttpError (503)."""
    try:
        return await state_of(request).small_work.run(context_of(request).client, work)
    except sqlite3.Error as error:
        fields = {"request": context_of(request).id, **json_logging.exception_fields(error)}
        LOG.error("keys", extra={"fields": fields})  # noqa: TRY400
        raise keys_unavailable() from None


def _key_fields(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": iso_time(key.created),
        "expires_at": iso_time(key.expires),
        "revoked_at": None if key.revoked is None else iso_time(key.revoked),
    }
