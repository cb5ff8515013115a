"""An MLflow client that tries again for a while where a tracking server refuses access."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from gridcast.tracking.addresses import without_credentials

PATIENCE_SECONDS = 30.0
"""How long a refusal may last: proxies refuse access for moments, such as while a password or a token is renewed."""
REFUSALS = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}
"""HTTP statuses by MLflow's name for them; of 5xx, 429 and lost connections MLflow itself makes further tries."""
_LOG = logging.getLogger("gridcast")


class PatientClient:
    """The MLflow client `client` of a tracking server at `uri`."""

    def __init__(self, client: Any, uri: str) -> None:
        self._client, self._uri = client, uri

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        return functools.partial(self._call, value) if callable(value) else value

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        begun, delay = time.monotonic(), 0.5
        while True:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                status = refused_status(error)
                if status is None or time.monotonic() - begun + delay > PATIENCE_SECONDS:
                    raise
                if delay == 0.5:
                    _LOG.warning(
                        "%s: refuses access (HTTP %d); tried again for %.0f s",
                        without_credentials(self._uri),
                        status,
                        PATIENCE_SECONDS,
                    )
            time.sleep(delay)
            delay *= 2


def refused_status(error: Exception) -> int | None:
    """Return 401 or 403 if the server answered with it, else None: the call then has changed nothing."""
    response = getattr(error, "response", None)
    status = REFUSALS.get(getattr(error, "error_code", ""), getattr(response, "status_code", None))
    return status if status in REFUSALS.values() else None
