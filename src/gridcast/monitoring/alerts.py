"""Word to people: mail, chat, web hooks and whatever else apprise knows."""

from __future__ import annotations

import http.client
import json
import logging
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from gridcast.runtime.errors import ConfigError

WEBHOOK_TIMEOUT = 10.0
"""Seconds that a web hook may take to answer."""
LOG = logging.getLogger(__name__)


def open_notifier(urls: Sequence[str]) -> Any:
    """What sends to all of `urls`, such as `mailto://…` or `slack://…`. Raises ConfigError.

    An address may hold a password, so that no message shows more of it than its scheme.
    """
    try:
        import apprise
    except ImportError:
        raise ConfigError("--alert: apprise is not installed; pip install 'gridcast[alerts]'") from None
    notices = apprise.Apprise()
    for number, url in enumerate(urls, start=1):
        if not notices.add(url):
            scheme = url.partition("://")[0] if "://" in url else "none"
            raise ConfigError(
                f"--alert: address {number} (scheme: {scheme}) is none that apprise knows; "
                "write it as in its list of services, such as mailto://user:password@host or json://host/path"
            )
    return notices


def send_notice(notices: Any, title: str, text: str, otherwise: str = "the verdict stands on this page alone") -> bool:
    """Send to every address; returns whether all were reached, else that is a warning, which ends `otherwise`."""
    reached = bool(notices.notify(title=title, body=text))
    if not reached:
        LOG.warning("--alert: at least one address could not be reached; %s", otherwise)
    return reached


def check_webhook(url: str) -> None:
    """Returns where `post` can go to `url`. Raises ConfigError, without the address, which may hold a secret."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--webhook: (scheme: {parts.scheme or 'none'}) is no address such as https://host/path")


def post_webhook(url: str, about: Mapping[str, Any], key: str) -> bool:
    """POST `about` as JSON to a web hook; returns whether it was taken, else that is a warning.

    The header `Idempotency-Key` lets the receiver drop what it has got before.
    """
    headers = {"Content-Type": "application/json", "Idempotency-Key": urllib.parse.quote(key, safe="/:")}
    request = urllib.request.Request(url, json.dumps(about).encode(), headers)  # noqa: S310 - see `postable`
    try:
        with urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT):  # noqa: S310
            return True
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is an open answer too
        LOG.warning("--webhook: %s; the alert waits for the next look", error)
        return False
