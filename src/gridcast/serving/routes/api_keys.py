"""API keys: made, listed, revoked."""

from __future__ import annotations

import hmac
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
DAY = 86400.0
router = APIRouter()


@router.post(
    "/generate_api_key",
    status_code=201,
    response_model=schemas.CreatedApiKey,
    responses=error_responses(403, 413),
    tags=["keys"],
)
async def generate_api_key(
    new: schemas.NewApiKey, request: Request, x_admin_token: Annotated[str | None, Header()] = None
) -> Response:
    """Make an API key; it is shown this once. Wants the admin's token in X-Admin-Token."""
    service = state_of(request)
    token = service.settings.token
    if token is None:
        raise HttpError(403, "open", "this service is open: it asks for no keys, and makes none")
    if x_admin_token is None:
        raise HttpError(401, "token_missing", "give the admin's token in the header X-Admin-Token", "X-Admin-Token")
    if not hmac.compare_digest(x_admin_token.encode(), token.encode()):
        raise HttpError(401, "token_wrong", "X-Admin-Token is not the admin's token", "X-Admin-Token")
    key, text = service.keys.create(new.name, new.expires_in_days * DAY, new.scopes)
    LOG.info("key made", extra={"told": {"request": context_of(request).id, "made": key.id, "scopes": key.scopes}})
    return json_response({"id": key.id, "api_key": text, "expires_at": iso_time(key.expires)}, 201)


@router.get(
    "/api_keys",
    response_model=schemas.ApiKeyList,
    responses=error_responses(403),
    dependencies=REQUIRES_KEY,
    tags=["keys"],
)
async def api_keys(request: Request) -> Response:
    """Every key there was, without its secret."""
    return json_response({"keys": [_listed(key) for key in state_of(request).keys.all()]})


@router.delete(
    "/api_keys/{id}",
    response_model=schemas.ApiKeyInfo,
    responses=error_responses(403, 404),
    dependencies=REQUIRES_KEY,
    tags=["keys"],
)
async def revoke(id: str, request: Request) -> Response:  # noqa: A002 - the word of the contract
    """Revoke a key: it opens nothing from now on."""
    key = state_of(request).keys.revoke(id)
    if key is None:
        raise HttpError(404, "no_key", "there is no key with this id, or no more", "id")
    LOG.info("key revoked", extra={"told": {"request": context_of(request).id, "revoked": key.id}})
    return json_response(_listed(key))


def _listed(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": iso_time(key.created),
        "expires_at": iso_time(key.expires),
        "revoked_at": None if key.revoked is None else iso_time(key.revoked),
    }
