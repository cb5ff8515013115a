"""API keys: made, listed, revoked."""

from __future__ import annotations

import hmac
import logging
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from gridcast.serving import json_logging
from gridcast.serving.api_keys import Key
from gridcast.serving.http import KEY, as_json, context_of, moment, refusing, service_of
from gridcast.serving.http_errors import Refusal
from gridcast.serving.payloads import schemas

LOG = logging.getLogger(json_logging.NAME)
DAY = 86400.0
router = APIRouter()


@router.post(
    "/generate_api_key",
    status_code=201,
    response_model=schemas.Created,
    responses=refusing(403, 413),
    tags=["keys"],
)
async def generate_api_key(
    new: schemas.NewKey, request: Request, x_admin_token: Annotated[str | None, Header()] = None
) -> Response:
    """Make an API key; it is shown this once. Wants the admin's token in X-Admin-Token."""
    service = service_of(request)
    token = service.settings.token
    if token is None:
        raise Refusal(403, "open", "this service is open: it asks for no keys, and makes none")
    if x_admin_token is None:
        raise Refusal(401, "token_missing", "give the admin's token in the header X-Admin-Token", "X-Admin-Token")
    if not hmac.compare_digest(x_admin_token.encode(), token.encode()):
        raise Refusal(401, "token_wrong", "X-Admin-Token is not the admin's token", "X-Admin-Token")
    key, text = service.keys.create(new.name, new.expires_in_days * DAY, new.scopes)
    LOG.info("key made", extra={"told": {"request": context_of(request).id, "made": key.id, "scopes": key.scopes}})
    return as_json({"id": key.id, "api_key": text, "expires_at": moment(key.expires)}, 201)


@router.get("/api_keys", response_model=schemas.KeyList, responses=refusing(403), dependencies=KEY, tags=["keys"])
async def api_keys(request: Request) -> Response:
    """Every key there was, without its secret."""
    return as_json({"keys": [_listed(key) for key in service_of(request).keys.all()]})


@router.delete(
    "/api_keys/{id}", response_model=schemas.Kept, responses=refusing(403, 404), dependencies=KEY, tags=["keys"]
)
async def revoke(id: str, request: Request) -> Response:  # noqa: A002 - the word of the contract
    """Revoke a key: it opens nothing from now on."""
    key = service_of(request).keys.revoke(id)
    if key is None:
        raise Refusal(404, "no_key", "there is no key with this id, or no more", "id")
    LOG.info("key revoked", extra={"told": {"request": context_of(request).id, "revoked": key.id}})
    return as_json(_listed(key))


def _listed(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": moment(key.created),
        "expires_at": moment(key.expires),
        "revoked_at": None if key.revoked is None else moment(key.revoked),
    }
